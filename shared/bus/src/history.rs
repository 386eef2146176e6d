//! History asked over the bus.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::error::BusError;

/// An answer in pieces of at most 256 KiB. The first error ends it.
pub type AnswerStream = BoxStream<'static, Result<Bytes, BusError>>;

/// Answers questions; the query service's side. Question and answer are opaque to the bus.
#[async_trait]
pub trait HistoryHandler: Send + Sync + 'static {
    /// Answers one question.
    async fn answer(&self, question: Bytes) -> Result<AnswerStream, BusError>;
}

/// Asks questions; the collector's side.
#[async_trait]
pub trait HistoryClient: Send + Sync {
    /// Asks; the stream yields pieces in order, or a retryable error when the query service dies in the middle or `deadline` passes.
    async fn ask(&self, question: Bytes, deadline: Duration) -> Result<AnswerStream, BusError>;
}
