//! One connection's loop: frames in, answers out, in order.
//!
//! Every frame takes a place in `pending`; what stands at the front is sent as soon as it is ready. Reading stops (and TCP pushes
//! back) while the places, or the byte budget, are used up. The loop never waits for one thing only: while a frame waits for the
//! budget, publishes go on, which is what gives bytes back.

mod actions;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reflow_tracing_protocol::wire::{Code, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::adoption::Adoption;
use crate::answer::{Answer, Refusal, text};
use crate::budget::Taken;
use crate::capabilities::Shared;
use crate::clients::{self, Reports};
use crate::close::{Ending, close_marks};
use crate::compressed::Decompressed;
use crate::flow::{Flow, Flows};
use crate::gather::{Gather, Gathered};
use crate::live::Subscription;
use crate::outgoing::{Outgoing, SendError};
use crate::pending::Pending;
use crate::subscriptions::Subscriptions;

/// Frames gathered into one publish at most; more wait for the next.
const MAX_GATHER_FRAMES: usize = 2_000;
/// Bytes gathered into one publish at most: chunks are about that size.
const MAX_GATHER_BYTES: usize = 1 << 20;
/// On drain, frames that have arrived already are still taken; so many at most.
const MAX_DRAIN_FRAMES: usize = 10_000;
/// On drain, a peer that sends nothing for so long has sent all it will.
const DRAIN_GRACE: std::time::Duration = std::time::Duration::from_millis(50);

type Waiting = BoxFuture<'static, Waited>;

/// A frame that had to wait: for the byte budget, or to be decompressed.
enum Waited {
    Message(Message, Option<Taken>),
    Decompressed(Box<Decompressed>),
    Refused(Refusal),
}

/// What a frame's work leaves behind.
#[derive(Default)]
struct Done {
    answer: Option<Answer>,
    learned: Vec<(Uuid, Option<Flow>)>,
    /// Traces that a gather could publish nothing of.
    nothing: Vec<Uuid>,
    /// Answered once it is known to have room.
    subscription: Option<Box<Subscription>>,
    unsubscribe: Option<Option<String>>,
}

impl Done {
    fn answer(answer: Answer) -> Self {
        Self { answer: Some(answer), ..Self::default() }
    }
}

/// A session in either protocol.
pub(crate) struct Session<S> {
    shared: Arc<Shared>,
    out: Outgoing<S>,
    v2: bool,
    /// Whether the session's first frame was one that only the older generation has.
    older: Option<bool>,
    adoption: Adoption,
    flows: Flows,
    gather: Gather,
    /// Gathers whose publish is under way, and who to wake when one is done.
    gathers: Arc<(AtomicUsize, Notify)>,
    pending: Pending<Done>,
    waiting: Option<Waiting>,
    subscriptions: Subscriptions,
    reports: Reports,
    last_seen: Instant,
    /// When we last kept the peer from sending.
    last_paused: Instant,
    stop: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    /// One that ends when the server stops.
    pub(crate) fn new(shared: Arc<Shared>, out: Outgoing<S>, v2: bool, stop: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            shared,
            out,
            v2,
            older: None,
            adoption: if v2 { Adoption::strict() } else { Adoption::default() },
            flows: Flows::default(),
            gather: Gather::default(),
            gathers: Arc::new((AtomicUsize::new(0), Notify::new())),
            pending: Pending::default(),
            waiting: None,
            subscriptions: Subscriptions::default(),
            reports: Reports::default(),
            last_seen: now,
            last_paused: now,
            stop,
        }
    }

    /// Serves until the peer goes, a limit ends the session, or `stop`.
    pub(crate) async fn run(mut self) -> Ending {
        let ending = match self.serve().await {
            Ok(ending) => ending,
            Err(SendError::Slow) => Ending::Slow,
            Err(SendError::Gone) => Ending::Peer,
        };
        self.finish(ending).await;
        self.shared.metrics.sessions_ended.with_label_values(&[ending.label()]).inc();
        ending
    }

    async fn serve(&mut self) -> Result<Ending, SendError> {
        if self.v2 {
            let limits = self.shared.limits.announced();
            self.out.answer(text(&Response::Welcome { limits })).await?;
            if let Some(rules) = clients::sampling(&self.shared.limits.sampling) {
                self.out.answer(rules).await?;
            }
        }
        let mut ticks = interval(self.shared.limits.look_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let gathers = Arc::clone(&self.gathers);
        let stop = self.stop.clone();
        loop {
            self.launch_gather(false);
            let reading = self.may_read();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.drain().await,
                Some(done) = self.pending.next(), if !self.pending.is_empty() => self.settle(done).await?,
                () = gathers.1.notified(), if !self.gather.is_empty() => {}
                waited = wait(&mut self.waiting), if self.waiting.is_some() => self.resume(waited),
                message = self.out.next(), if reading => {
                    if let Some(ending) = self.received(message).await? {
                        return Ok(ending);
                    }
                    // What has arrived already belongs into the same gather.
                    while self.may_read() && let Some(message) = self.out.next().now_or_never() {
                        if let Some(ending) = self.received(message).await? {
                            return Ok(ending);
                        }
                    }
                }
                (view, items) = self.subscriptions.next(), if !self.subscriptions.is_empty() => self.show(&view, items).await?,
                () = self.reports.due() => self.out.answer(Reports::question()).await?,
                _ = ticks.tick() => {
                    if let Some(ending) = self.tick(reading).await? {
                        return Ok(ending);
                    }
                }
            }
        }
    }

    /// Whether there is room for another frame.
    fn may_read(&self) -> bool {
        self.waiting.is_none()
            && self.pending.len() < self.shared.limits.max_chunks_in_flight
            && self.gather.len() < MAX_GATHER_FRAMES
            && self.gather.bytes() < MAX_GATHER_BYTES
    }

    /// A message, or the end of them.
    async fn received(&mut self, message: Option<Result<Message, WsError>>) -> Result<Option<Ending>, SendError> {
        self.last_seen = Instant::now();
        let message = match message {
            Some(Ok(message)) => message,
            None => return Ok(Some(Ending::Peer)),
            Some(Err(error)) => return Ok(Some(self.broken(error).await?)),
        };
        match message {
            Message::Text(_) | Message::Binary(_) => {
                let bytes = message.len();
                self.shared.metrics.received_bytes.inc_by(bytes as u64);
                match self
                    .out
                    .take_held()
                    .map(|taken| taken.trimmed(bytes))
                    .or_else(|| self.shared.budget.try_take(bytes))
                {
                    Some(taken) => self.take(message, Some(taken)),
                    None => {
                        let budget = self.shared.budget.clone();
                        self.waiting = Some(async move { Waited::Message(message, budget.take(bytes).await) }.boxed());
                    }
                }
            }
            Message::Close(_) => return Ok(Some(Ending::Peer)),
            // The library answers pings itself; its answer goes out with the next flush.
            Message::Ping(_) => self.out.flush().await?,
            Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(None)
    }

    /// The library could not go on: says why, if there is somebody to tell.
    async fn broken(&mut self, error: WsError) -> Result<Ending, SendError> {
        let limits = &self.shared.limits;
        let refusal = match error {
            WsError::Capacity(error) => {
                let message = format!(
                    "frame is over the limit of {} bytes (max_frame_bytes): {error}; split it",
                    limits.max_frame_bytes
                );
                Refusal::new(Code::LimitExceeded, "frame_size", message)
            }
            WsError::Utf8(error) => {
                Refusal::new(Code::SerializationError, "utf8", format!("text frame is not UTF-8: {error}"))
            }
            WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
            | WsError::Io(_)
            | WsError::ConnectionClosed
            | WsError::AlreadyClosed => return Ok(Ending::Peer),
            error => {
                Refusal::new(Code::InvalidRequest, "websocket", format!("not WebSocket as RFC 6455 has it: {error}"))
            }
        };
        self.shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
        self.launch_gather(true);
        while let Some(done) = self.pending.next().await {
            self.settle(done).await?;
        }
        let dialect = self.dialect();
        self.out.answer(refusal.answer(dialect, None, None)).await?;
        Ok(Ending::Frame)
    }

    /// Publishes what has been gathered, unless a gather is on its way already (then more may gather) and `now` is false.
    fn launch_gather(&mut self, now: bool) {
        let full = self.gather.len() >= MAX_GATHER_FRAMES || self.gather.bytes() >= MAX_GATHER_BYTES;
        let room = self.pending.len() < self.shared.limits.max_chunks_in_flight;
        let idle = self.gathers.0.load(Ordering::Acquire) == 0;
        if self.gather.is_empty() || !(now || idle || (full && room)) {
            return;
        }
        let dialect = self.dialect();
        let resolved = self.gather.resolve(&mut self.adoption, &mut self.flows, &self.shared, dialect);
        let shared = Arc::clone(&self.shared);
        let gathers = Arc::clone(&self.gathers);
        gathers.0.fetch_add(1, Ordering::AcqRel);
        self.pending.push(async move {
            let gathered = resolved.publish(shared).await;
            gathers.0.fetch_sub(1, Ordering::AcqRel);
            gathers.1.notify_one();
            let Gathered { answer, learned, nothing } = gathered;
            Done { answer: Some(answer), learned, nothing, ..Done::default() }
        });
    }

    /// Sends what is ready, in one write.
    async fn settle(&mut self, done: Done) -> Result<(), SendError> {
        self.apply(done).await?;
        while self.out.has_room()
            && let Some(Some(next)) = self.pending.next().now_or_never()
        {
            self.apply(next).await?;
        }
        self.out.flush().await?;
        self.excuse();
        Ok(())
    }

    /// The peer cannot be blamed for what it has not said up to now: it was not read.
    fn excuse(&mut self) {
        let now = Instant::now();
        (self.last_seen, self.last_paused) = (now, now);
    }

    /// What the session itself learns, whether or not anybody listens.
    fn learn(&mut self, done: &mut Done) {
        for (trace_id, flow) in done.learned.drain(..) {
            self.flows.learn(trace_id, flow);
        }
        for trace_id in done.nothing.drain(..) {
            self.adoption.nothing_published(trace_id);
        }
    }

    async fn apply(&mut self, mut done: Done) -> Result<(), SendError> {
        self.learn(&mut done);
        if let Some(id) = done.unsubscribe {
            self.subscriptions.remove(id.as_deref());
        }
        let admitted = match done.subscription {
            Some(subscription) => Some(self.admit(*subscription).await?),
            None => None,
        };
        match done.answer.or(admitted) {
            Some(answer) => self.out.feed(answer).await,
            None => Ok(()),
        }
    }

    async fn tick(&mut self, reading: bool) -> Result<Option<Ending>, SendError> {
        let now = Instant::now();
        if !reading || self.out.waits_for_budget() {
            self.excuse();
        }
        let limits = &self.shared.limits;
        if now.duration_since(self.last_seen) > limits.idle_timeout {
            return Ok(Some(Ending::Idle));
        }
        // Nor for a frame that it could not finish meanwhile.
        let unfinished = self.out.holds_budget_since().map(|since| now.duration_since(since.max(self.last_paused)));
        if unfinished.is_some_and(|time| time > limits.write_timeout) {
            return Ok(Some(Ending::SlowFrame));
        }
        self.out.ping_if_due().await?;
        Ok(None)
    }

    /// The server stops: what has arrived is still taken, and everything taken is answered.
    async fn drain(&mut self) -> Result<Ending, SendError> {
        for _ in 0..MAX_DRAIN_FRAMES {
            while !self.may_read() {
                self.launch_gather(true);
                // A frame may wait for what is under way to give bytes back.
                tokio::select! {
                    biased;
                    waited = wait(&mut self.waiting), if self.waiting.is_some() => self.resume(waited),
                    Some(done) = self.pending.next(), if !self.pending.is_empty() => self.settle(done).await?,
                    else => break,
                }
            }
            // What lies in the socket may take the reactor a moment to notice.
            match tokio::time::timeout(DRAIN_GRACE, self.out.next()).await {
                Ok(message) => {
                    if let Some(ending) = self.received(message).await? {
                        return Ok(ending);
                    }
                }
                Err(_) => break,
            }
        }
        Ok(Ending::Drain)
    }

    /// Sees every publish through, answers as far as somebody listens, and says goodbye.
    async fn finish(&mut self, ending: Ending) {
        let mut listening = !matches!(ending, Ending::Slow);
        loop {
            self.launch_gather(true);
            if !listening {
                self.pending.forsake();
            }
            tokio::select! {
                biased;
                waited = wait(&mut self.waiting), if self.waiting.is_some() => self.resume(waited),
                Some(mut done) = self.pending.next(), if !self.pending.is_empty() => {
                    if !listening {
                        self.learn(&mut done);
                    } else if self.settle(done).await.is_err() {
                        listening = false;
                    }
                }
                else => break,
            }
        }
        if ending == Ending::Peer && !self.v2 && self.shared.capabilities.ingest.is_some() {
            close_marks(&self.shared, &self.adoption, &self.flows).await;
        }
        if listening {
            self.out.close(ending).await;
        }
    }
}

/// Cancelling it loses nothing: the future stays where it is.
async fn wait(waiting: &mut Option<Waiting>) -> Waited {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
