//! The bounded queue of the local bus: what waits, what a consumer holds, what waits for its delay.
//!
//! Guarantee: an entry is in exactly one place (ready, delayed, or owned by an acker) until it is settled, and takes its share
//! of the bounds all that time. Left out on purpose: order. A redelivered entry goes to the front, nothing depends on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::spans::traceparent;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::error::{BusError, BusErrorKind};
use crate::stats::{BusStats, add};
use crate::{Lag, PullLimits};

type Outcome = Result<(), BusError>;

/// One chunk on its way to the commit.
pub(super) struct Entry {
    id: u64,
    pub(super) message: Bytes,
    pub(super) chunk: Arc<Chunk>,
    pub(super) attempts: u64,
    /// Whose work it is.
    pub(super) traceparent: Option<String>,
    /// The waiting publisher, which may have left.
    outcome: oneshot::Sender<Outcome>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

pub(super) struct Queue {
    message_room: Arc<Semaphore>,
    byte_room: Arc<Semaphore>,
    max_bytes: usize,
    state: Mutex<State>,
    /// Something became ready, or the bus closed.
    pub(super) arrived: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Entry>,
    delayed: BTreeMap<(Instant, u64), Entry>,
    /// Unsettled entries in order of arrival, with when they came and how large they are.
    unsettled: BTreeMap<u64, (Instant, usize)>,
    unsettled_bytes: usize,
    committed: u64,
    next_id: u64,
    has_consumer: bool,
}

impl Queue {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        // A request for permits is a u32.
        let max_bytes = max_bytes.clamp(1, u32::MAX as usize);
        Self {
            message_room: Arc::new(Semaphore::new(max_messages.max(1))),
            byte_room: Arc::new(Semaphore::new(max_bytes)),
            max_bytes,
            state: Mutex::new(State::default()),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and queues. Dropped while it waits, nothing is queued; later, the chunk stays and is committed.
    pub(super) async fn push(
        &self,
        message: Bytes,
        chunk: Arc<Chunk>,
        stats: &BusStats,
    ) -> Result<oneshot::Receiver<Outcome>, BusError> {
        let size = message.len();
        if size > self.max_bytes {
            let reason = format!("a chunk of {size} bytes is larger than the bus (max_bytes = {})", self.max_bytes);
            return Err(BusError::new(BusErrorKind::TooLarge, "publish", reason));
        }
        let room = (acquire(&self.message_room, 1, stats).await?, acquire(&self.byte_room, size as u32, stats).await?);
        let (outcome, waiting) = oneshot::channel();
        let traceparent = traceparent();
        {
            let mut state = self.lock();
            let id = state.next_id;
            state.next_id += 1;
            state.unsettled.insert(id, (Instant::now(), size));
            state.unsettled_bytes += size;
            state.ready.push_back(Entry { id, message, chunk, attempts: 0, traceparent, outcome, _room: room });
        }
        self.arrived.notify_one();
        Ok(waiting)
    }

    /// Moves what is ready into `batch`, up to the limits. Tells whether the batch is full, and when the next delayed is due.
    pub(super) fn take(&self, limits: &PullLimits, batch: &mut Vec<Entry>) -> (bool, Option<Instant>) {
        let mut bytes: usize = batch.iter().map(|entry| entry.message.len()).sum();
        let mut state = self.lock();
        let now = Instant::now();
        while let Some(due) = state.delayed.first_entry().filter(|due| due.key().0 <= now) {
            let entry = due.remove();
            state.ready.push_front(entry);
        }
        loop {
            if batch.len() >= limits.max_messages.max(1) {
                return (true, None);
            }
            let Some(next) = state.ready.front() else { break };
            if !batch.is_empty() && bytes + next.message.len() > limits.max_bytes {
                return (true, None);
            }
            bytes += next.message.len();
            batch.extend(state.ready.pop_front());
        }
        (false, state.delayed.first_key_value().map(|(key, _)| key.0))
    }

    /// Back to the queue: at once, or after a delay.
    pub(super) fn give_back(&self, entry: Entry, delay: Duration) {
        {
            let mut state = self.lock();
            if delay.is_zero() {
                state.ready.push_front(entry);
            } else {
                state.delayed.insert((Instant::now() + delay, entry.id), entry);
            }
        }
        self.arrived.notify_one();
    }

    /// The entry is done with: the publisher learns how.
    pub(super) fn settle(&self, entry: Entry, outcome: Outcome) {
        {
            let mut state = self.lock();
            if let Some((_, size)) = state.unsettled.remove(&entry.id) {
                state.unsettled_bytes -= size;
            }
            state.committed += u64::from(outcome.is_ok());
        }
        // A publisher that has left does not want to know.
        let _ = entry.outcome.send(outcome);
    }

    pub(super) fn committed(&self) -> u64 {
        self.lock().committed
    }

    pub(super) fn lag(&self) -> Lag {
        let state = self.lock();
        Lag {
            messages: state.unsettled.len() as u64,
            bytes: state.unsettled_bytes as u64,
            limit_bytes: Some(self.max_bytes as u64),
            oldest: state.unsettled.first_key_value().map(|(_, (since, _))| since.elapsed()),
            ack_floor: state.committed,
            dead_letters: 0,
        }
    }

    /// Whether the one place of a consumer was free; it is taken now.
    pub(super) fn take_consumer_place(&self) -> bool {
        !std::mem::replace(&mut self.lock().has_consumer, true)
    }

    pub(super) fn leave_consumer_place(&self) {
        self.lock().has_consumer = false;
    }

    /// Forgets what waits; the publishers see the bus closed.
    pub(super) fn clear(&self) {
        let state = std::mem::take(&mut *self.lock());
        self.lock().committed = state.committed;
        drop(state);
        self.arrived.notify_one();
    }
}

async fn acquire(room: &Arc<Semaphore>, share: u32, stats: &BusStats) -> Result<OwnedSemaphorePermit, BusError> {
    if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(share) {
        return Ok(permit);
    }
    add(&stats.full_waits, 1);
    Arc::clone(room).acquire_many_owned(share).await.map_err(|_| super::closed("publish"))
}
