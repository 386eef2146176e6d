//! The NATS bus itself: its connections, and who does what.
//!
//! Guarantee: nothing here needs the server to be there, except [`NatsBus::declare`]. Tails have a connection of their own,
//! opened by the first: a viewer's load cannot delay acknowledgements, and a server that cuts off a slow reader cuts off only it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{Context, ErrorCode};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reflow_tracing_chunk::Chunk;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::request;
use super::consumer::NatsConsumer;
use super::declare::declare;
use super::link::Link;
use super::options::NatsOptions;
use super::publish::Flow;
use super::subjects::{CHUNKS, DEAD};
use super::{dead, tail};
use crate::error::{BusError, BusErrorKind};
use crate::stats::{BusStats, add};
use crate::{Bus, Consumer, DeadLetter, Lag, Tail, TailFilter};

/// Declaring again at run time happens at most so often.
const REPAIR_PAUSE: Duration = Duration::from_secs(2);
/// And so long after something was found missing: nats-server 2.9 still clears the files of a deleted stream when it has said
/// that it is gone, and takes those of a new one with them.
const REPAIR_DELAY: Duration = Duration::from_secs(1);
/// How long `close` waits until the server has what was sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The bus over NATS JetStream. Clones share one connection.
#[derive(Clone)]
pub struct NatsBus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: NatsOptions,
    pub(crate) link: Link,
    pub(crate) context: Context,
    pub(crate) stats: Arc<BusStats>,
    pub(crate) flow: Flow,
    pub(crate) closed: CancellationToken,
    tail_link: OnceCell<Link>,
    repaired: Mutex<Option<Instant>>,
}

impl NatsBus {
    /// Starts connecting, in the background and for ever. Fails with [`BusErrorKind::Setup`] for settings that cannot work;
    /// a server that is not there is no error.
    pub async fn connect(options: NatsOptions) -> Result<Self, BusError> {
        let stats = Arc::new(BusStats::default());
        let link = Link::open(&options, "bus", Arc::clone(&stats)).await?;
        let context = ContextBuilder::new()
            .timeout(options.publish_timeout)
            // Our own permits bound what is in flight; the context's must never be the narrower ones.
            .max_ack_inflight(options.max_in_flight.max(1) * 2)
            .build(link.client.clone());
        let flow = Flow::new(&options);
        let inner = Inner {
            options,
            link,
            context,
            stats,
            flow,
            closed: CancellationToken::new(),
            tail_link: OnceCell::new(),
            repaired: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Declares streams and consumer, once. Every binary does so at start and is not ready before it succeeded.
    pub async fn declare(&self) -> Result<(), BusError> {
        declare(&self.inner.link, &self.inner.options).await
    }

    /// Declares, trying again while the server is away or not ready. Fails only for what waiting does not mend.
    pub async fn declare_when_reachable(&self) -> Result<(), BusError> {
        self.when_reachable("declare", || self.declare()).await
    }

    /// Asks the server, again and again while it is away or not ready.
    pub(super) async fn when_reachable<T, F>(&self, context: &'static str, ask: impl Fn() -> F) -> Result<T, BusError>
    where
        F: Future<Output = Result<T, BusError>>,
    {
        let mut pause = Duration::from_millis(100);
        loop {
            let attempt = async {
                self.inner.link.until_up().await;
                ask().await
            };
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = self.inner.closed.cancelled() => return Err(closed(context)),
            };
            match outcome {
                Err(error) if error.is_retryable() => tracing::warn!(%error, "bus is not ready, trying again"),
                settled => return settled,
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Whether the connection is up now.
    pub fn is_connected(&self) -> bool {
        self.inner.link.is_up()
    }

    /// The counters, shareable.
    pub fn shared_stats(&self) -> Arc<BusStats> {
        Arc::clone(&self.inner.stats)
    }
}

impl Inner {
    /// Declares again after the server said that something is missing; not more often than makes sense.
    pub(crate) async fn repair(&self) {
        // Somebody else is at it.
        let Ok(mut repaired) = self.repaired.try_lock() else { return };
        if repaired.is_some_and(|at| at.elapsed() < REPAIR_PAUSE) {
            return;
        }
        sleep(REPAIR_DELAY).await;
        match declare(&self.link, &self.options).await {
            Ok(()) => add(&self.stats.repairs, 1),
            Err(error) => tracing::warn!(%error, "streams or consumer are missing and cannot be declared"),
        }
        *repaired = Some(Instant::now());
    }

    /// State of a stream that should be there: if it is not, it is declared again by whoever needs it next.
    pub(crate) async fn stream_state(&self, stream: &'static str, link: &Link) -> Result<StreamState, BusError> {
        let gone = || BusError::new(BusErrorKind::Unavailable, "ask stream", format!("stream {stream} is not there"));
        self.find_stream(stream, link).await?.ok_or_else(gone)
    }

    /// State of a stream, `None` where there is none.
    pub(crate) async fn find_stream(&self, stream: &str, link: &Link) -> Result<Option<StreamState>, BusError> {
        match request(link, &format!("STREAM.INFO.{stream}"), None).await {
            Ok(info) => Ok(Some(StreamState::read(&info))),
            Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into_bus("ask stream", stream)),
        }
    }

    async fn tail_link(&self) -> Result<&Link, BusError> {
        self.tail_link.get_or_try_init(|| Link::open(&self.options, "tail", Arc::clone(&self.stats))).await
    }
}

/// State of a stream, as far as we need it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// `max_bytes` as it stands on the server, which an operator may have changed; -1 there is no limit.
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    first_at: Option<DateTime<Utc>>,
}

impl StreamState {
    fn read(info: &Value) -> Self {
        let state = &info["state"];
        let number = |key: &str| state[key].as_u64().unwrap_or(0);
        Self {
            messages: number("messages"),
            bytes: number("bytes"),
            limit_bytes: info["config"]["max_bytes"].as_u64(),
            first_sequence: number("first_seq"),
            last_sequence: number("last_seq"),
            first_at: state["first_ts"].as_str().and_then(|text| text.parse().ok()),
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, chunk: Chunk) -> Result<(), BusError> {
        self.inner.publish(chunk).await
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(NatsConsumer::try_new(Arc::clone(&self.inner)).await?))
    }

    async fn tail(&self, filter: TailFilter) -> Result<Tail, BusError> {
        let link = self.inner.tail_link().await?.clone();
        tail::open(Arc::clone(&self.inner), link, filter).await
    }

    async fn dead_letter(&self, message: Bytes, reason: &str) -> Result<(), BusError> {
        dead::append(&self.inner, message, reason).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        let state = self.inner.stream_state(DEAD, &self.inner.link).await?;
        dead::newest(&self.inner, state, limit).await
    }

    /// In a work queue, what is acknowledged or terminated leaves the stream: the stream's own figures are pending and
    /// unanswered deliveries together, and all below its first message is done.
    async fn lag(&self) -> Result<Lag, BusError> {
        let chunks = self.inner.stream_state(CHUNKS, &self.inner.link).await?;
        let dead = self.inner.stream_state(DEAD, &self.inner.link).await?;
        let since = |at: DateTime<Utc>| (Utc::now() - at).to_std().unwrap_or_default();
        Ok(Lag {
            messages: chunks.messages,
            bytes: chunks.bytes,
            limit_bytes: chunks.limit_bytes,
            oldest: chunks.first_at.filter(|_| chunks.messages > 0).map(since),
            ack_floor: chunks.first_sequence.saturating_sub(1),
            dead_letters: dead.messages,
        })
    }

    fn commits_before_ack(&self) -> bool {
        false
    }

    fn stats(&self) -> &BusStats {
        &self.inner.stats
    }

    async fn close(&self) {
        self.inner.closed.cancel();
        // Acks are on their way in the background. What does not get there is delivered again, so there is nothing to report.
        let _ = timeout(FLUSH_TIMEOUT, self.inner.link.client.flush()).await;
    }
}

pub(crate) fn closed(context: &'static str) -> BusError {
    BusError::new(BusErrorKind::Closed, context, "the bus is shutting down")
}
