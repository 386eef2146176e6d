//! The bus: takes chunks from collectors to writers, and shows them live to whoever looks. Two implementations, one behaviour.
//! Beside it: history asked over the bus ([`HistoryClient`]) and the trace directory that collectors share ([`Directory`]).
//!
//! Guarantee: when [`Bus::publish`] returns `Ok`, the chunk is durable as the implementation promises (*local*: committed by the
//! writer; *nats*: acknowledged by JetStream). A full bus waits (pushes back) and never drops. A chunk is delivered to some
//! [`Consumer`] at least once, again and again until it is acknowledged or dead-lettered.
//!
//! Left out on purpose: what is in a chunk's payload, how chunks are stored.

mod directory;
mod error;
mod filter;
mod history;
mod local;
mod metrics;
mod nats;
mod stats;
mod tail_queue;

pub use directory::{
    Directory, DirectoryOptions, DirectoryStats, MemoryDirectory, RedisDirectory, RedisOptions, TraceEntry,
    start_directory,
};
pub use error::{BusError, BusErrorKind};
pub use filter::TailFilter;
pub use history::{
    AnswerStream, AskOptions, HistoryClient, HistoryHandler, LocalHistory, MAX_PIECE_BYTES, NatsHistory, Patience,
    ServeOptions, serve_history,
};
pub use local::{LocalBus, LocalOptions};
pub use metrics::{Side, directory_metrics, watch_bus, watch_directory};
pub use nats::{NatsBus, NatsOptions};
pub use stats::BusStats;
pub use tail_queue::TailLimits;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use reflow_tracing_chunk::Chunk;

/// Where chunks go.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes a chunk and waits until it is durable. Waits while the bus is full or away; the only errors are those that
    /// trying again cannot mend ([`BusErrorKind::TooLarge`]) or a bus that is shutting down ([`BusErrorKind::Closed`]).
    async fn publish(&self, chunk: Chunk) -> Result<(), BusError>;

    /// A consumer. *nats*: all consumers share one durable consumer. *local*: there can be one, a second while the first lives
    /// is a [`BusErrorKind::Setup`] error.
    async fn consumer(&self) -> Result<Box<dyn Consumer>, BusError>;

    /// Chunks as they are stored, from now on. What the reader is too slow for is told as [`TailItem::Missed`]. *nats*: fails with
    /// [`BusErrorKind::Unavailable`] while the server is away; a tail that is open lives through it.
    async fn tail(&self, filter: TailFilter) -> Result<Tail, BusError>;

    /// Keeps a chunk that can never be stored, with the reason; durable when this returns (*local* without a folder: kept in
    /// memory). A full dead-letter store refuses with [`BusErrorKind::Full`] and keeps what it has: the oldest are never
    /// thrown away in silence.
    async fn dead_letter(&self, message: Bytes, reason: &str) -> Result<(), BusError>;

    /// Dead letters kept, newest first, at most `limit`.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError>;

    /// How far the writers are behind.
    async fn lag(&self) -> Result<Lag, BusError>;

    /// Whether `publish` returning means that the chunk is stored already (*local*), not merely durable on the bus.
    fn commits_before_ack(&self) -> bool;

    /// What the bus counted so far, for metrics.
    fn stats(&self) -> &BusStats;

    /// Shuts down: whoever waits in `publish` or `pull` gets [`BusErrorKind::Closed`], tails end, acks sent so far are flushed.
    async fn close(&self);

    /// Waits until everything up to `position` ([`Tail::position`]) is history, that is until the writers' ack floor has passed
    /// it. [`BusErrorKind::Timeout`] after `timeout`. Chunks behind the position may be history by then, too: whoever joins
    /// history and tail drops the chunk ids it has shown.
    async fn wait_for_history(&self, position: u64, timeout: Duration) -> Result<(), BusError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut pause = Duration::from_millis(5);
        loop {
            match self.lag().await {
                Ok(lag) if lag.ack_floor >= position => return Ok(()),
                Err(error) if !error.is_retryable() => return Err(error),
                Ok(_) | Err(_) => {}
            }
            if tokio::time::Instant::now() + pause > deadline {
                let reason = format!("the writers have not stored everything up to {position} within {timeout:?}");
                return Err(BusError::new(BusErrorKind::Timeout, "wait for history", reason));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// A writer's side of the bus. It fetches nothing ahead; what came late and was not handed out is given back when it is dropped.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one delivery, then returns as many as are there, up to the limits, waiting at most `linger` for more.
    /// An empty answer means that nothing came within `max_wait`. Fails after `max_wait` with
    /// [`BusErrorKind::Unavailable`] while the bus is away; pulling again goes on where it was, without a new consumer.
    async fn pull(&mut self, limits: &PullLimits) -> Result<Vec<Delivery>, BusError>;
}

/// How much a pull may bring.
#[derive(Clone, Copy, Debug)]
pub struct PullLimits {
    /// At most so many deliveries.
    pub max_messages: usize,
    /// At most so many bytes of messages (one delivery may exceed it alone).
    pub max_bytes: usize,
    /// After the first delivery, wait so long for more.
    pub linger: Duration,
    /// Return empty after so long without any.
    pub max_wait: Duration,
}

/// One delivery of one message. Dropping it without a word means redelivery after the ack wait (*local*: at once).
pub struct Delivery {
    /// The encoded chunk.
    pub message: Bytes,
    /// Which delivery of this message it is, from 1.
    pub attempt: u64,
    /// Where in which trace of the services' own it was published ([`reflow_tracing_service::spans`]), if that is exported.
    pub traceparent: Option<String>,
    /// How to answer.
    pub acker: Box<dyn Acker>,
}

/// Answers a delivery.
#[async_trait]
pub trait Acker: Send + Sync {
    /// Committed: never deliver again. (*local*: resolves the publisher's wait.)
    async fn ack(self: Box<Self>) -> Result<(), BusError>;
    /// Not now: deliver again after `delay`.
    async fn nak(self: Box<Self>, delay: Duration) -> Result<(), BusError>;
    /// Still working on it: restart the ack wait.
    async fn progress(&self) -> Result<(), BusError>;
    /// Never deliver again; the caller has dead-lettered it. (*local*: the publisher gets [`BusErrorKind::Refused`] with the reason.)
    async fn terminate(self: Box<Self>, reason: &str) -> Result<(), BusError>;
}

/// A live stream of chunks.
pub struct Tail {
    /// Position of the bus when the tail began: everything up to it is history.
    pub position: u64,
    /// The chunks, and what was missed.
    pub stream: BoxStream<'static, TailItem>,
}

/// What a tail yields.
#[derive(Clone, Debug)]
pub enum TailItem {
    /// A chunk that was really stored (*local*) or accepted by the bus (*nats*), once.
    Chunk(std::sync::Arc<Chunk>),
    /// The reader was too slow, or the connection was away: so many events are missing (of chunks that pass the tail's filter),
    /// `None` when nobody knows.
    Missed(Option<u64>),
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Why.
    pub reason: String,
    /// When, µs since the epoch.
    pub at_us: i64,
    /// The message as it was.
    pub message: Bytes,
}

/// How far the writers are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages not yet acknowledged by a writer.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// So many bytes fit in; at that, publishers wait. `None` where the stream has no limit.
    pub limit_bytes: Option<u64>,
    /// Age of the oldest.
    pub oldest: Option<Duration>,
    /// Greatest sequence up to which all are acknowledged or terminated (the writers' ack floor); *local*: the commit count.
    pub ack_floor: u64,
    /// How many dead letters are kept.
    pub dead_letters: u64,
}
