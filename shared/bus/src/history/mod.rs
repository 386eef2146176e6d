//! History asked over the bus.
//!
//! A collector has no store: it asks a query service, and the answer, which may be large, comes in pieces. [`NatsHistory`] asks
//! and [`serve_history`] answers over NATS; [`LocalHistory`] calls the handler of its own process. Questions and answers are
//! opaque to the bus.

mod ask;
mod local;
mod patience;
mod reply;
mod serve;
mod wire;

pub use ask::{AskOptions, NatsHistory};
pub use local::LocalHistory;
pub use patience::Patience;
pub use serve::{ServeOptions, serve_history};
pub use wire::MAX_PIECE_BYTES;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::error::BusError;

/// An answer in pieces of at most [`MAX_PIECE_BYTES`]. The first error ends it; dropping it cancels the question.
pub type AnswerStream = BoxStream<'static, Result<Bytes, BusError>>;

/// Answers questions; the query service's side. Question and answer are opaque to the bus.
#[async_trait]
pub trait HistoryHandler: Send + Sync + 'static {
    /// Answers one question. Pieces of any size: they are cut to fit. Both the future and the stream are dropped when the asker
    /// has gone or its patience is over.
    async fn answer(&self, question: Bytes) -> Result<AnswerStream, BusError>;
}

/// Asks questions; the collector's side.
#[async_trait]
pub trait HistoryClient: Send + Sync {
    /// Asks; the stream yields pieces in order, or a retryable error when the query service dies in the middle or the asker's
    /// patience is over. It asks for more only as it is read, so a slow reader holds a bounded piece of the answer. No query
    /// service at all is [`crate::BusErrorKind::Unavailable`], at once.
    async fn ask(&self, question: Bytes, patience: Patience) -> Result<AnswerStream, BusError>;
}
