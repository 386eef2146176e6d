//! What the handles of a client and its background share.
//!
//! Guarantee: everything recorded is bounded by `buffer_bytes`, wherever it waits (as events, as batches, on its way), and whatever
//! has to give way is counted under its reason and its trace.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::batch::Outgoing;
use super::buffer::{Buffer, Entry};
use super::mailbox::{Command, Mailbox};
use super::metrics::{ClientMetrics, Counters, DropReason};
use super::sampling::Sampler;
use super::settings::{Settings, WhenFull};
use super::undelivered::{Lost, Undelivered};
use super::wake::Wake;
use super::{TracingConfig, TracingError, driver};
use crate::wire::Limits;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: TracingConfig,
    pub(crate) settings: Settings,
    /// The client's id for itself, in every batch.
    pub(crate) client_id: String,
    /// How often counting has begun anew, so that it never does so under the same id: see `driver/traces/mod.rs`.
    pub(crate) generations: Arc<AtomicU64>,
    pub(crate) buffer: Buffer,
    /// What is ready to be sent, oldest first.
    backlog: Mutex<VecDeque<Outgoing>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) wake: Wake,
    /// Memory of everything recorded and not settled.
    bytes: AtomicUsize,
    /// Somebody who waits for room is told here.
    room: Notify,
    drops: Mutex<HashMap<Uuid, Drops>>,
    pub(crate) counters: Counters,
    pub(crate) sampler: Sampler,
    pub(crate) state: Mutex<State>,
    closed: AtomicBool,
    next_request: AtomicU64,
}

/// Dropped events of a trace that the background has not heard of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drops {
    /// Before they were in a batch.
    pub(crate) events: u64,
    /// With their batch.
    pub(crate) batched: u64,
}

/// What the background tells the handles.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) limits: Option<Limits>,
    pub(crate) v2: bool,
    pub(crate) last_error: Option<String>,
    /// Why there is no spool although there should be one.
    pub(crate) spool_error: Option<String>,
    /// Why the server last refused something for good.
    pub(crate) refusal: Option<String>,
    /// What a flush or a shutdown has last told of as lost.
    pub(crate) told: Lost,
    /// The background has panicked: what was not delivered, until there is another.
    pub(crate) failure: Option<Undelivered>,
}

/// As the published client names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Disconnected,
    Connecting,
    Connected,
    Reconnecting,
}

/// Why an event was not taken.
pub(crate) enum NotTaken {
    /// There is no room, and the caller may wait.
    Full(Box<Entry>),
    /// The client is shut down.
    Closed,
}

impl Shared {
    pub(crate) fn new(config: TracingConfig, settings: Settings) -> Self {
        Self {
            sampler: Sampler::new(&settings.sampling, driver::names(&settings, None)),
            config,
            settings,
            client_id: Uuid::now_v7().to_string(),
            generations: Arc::default(),
            buffer: Buffer::new(),
            backlog: Mutex::default(),
            mailbox: Mailbox::default(),
            wake: Wake::default(),
            bytes: AtomicUsize::new(0),
            room: Notify::new(),
            drops: Mutex::default(),
            counters: Counters::default(),
            state: Mutex::default(),
            closed: AtomicBool::new(false),
            next_request: AtomicU64::new(1),
        }
    }

    /// Takes an event, or says why not. Under `DropOldest` something else may give way for it; a dropped event counts as taken.
    pub(crate) fn offer(&self, entry: Entry) -> Result<(), NotTaken> {
        if self.closed.load(Ordering::Relaxed) {
            self.drop_entry(&entry, DropReason::Closed);
            return Err(NotTaken::Closed);
        }
        let (max, bytes) = (self.settings.buffer_bytes, entry.bytes);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > max {
            match self.settings.when_full {
                // What would not fit into an empty buffer is not worth emptying it for.
                WhenFull::DropOldest if bytes <= max && self.make_room(max) => {}
                WhenFull::Wait => {
                    // Nobody is told of room: there is no more than before, and whoever waits would only ask again.
                    self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    return Err(NotTaken::Full(Box::new(entry)));
                }
                WhenFull::DropOldest | WhenFull::DropNewest => {
                    self.release(bytes);
                    self.drop_entry(&entry, DropReason::BufferFull);
                    return Ok(());
                }
            }
        }
        self.buffer.push(entry);
        self.wake.if_asleep();
        Ok(())
    }

    /// Takes an event, waiting for room if that is the policy.
    pub(crate) async fn offer_or_wait(&self, entry: Entry) -> Result<(), TracingError> {
        let mut entry = match self.offer(entry) {
            Err(NotTaken::Full(entry)) if entry.bytes <= self.settings.buffer_bytes => entry,
            Err(NotTaken::Full(entry)) => {
                // Would not fit into an empty buffer: waiting would never end.
                self.drop_entry(&entry, DropReason::BufferFull);
                return Ok(());
            }
            Err(NotTaken::Closed) => return Err(TracingError::Disconnected),
            Ok(()) => return Ok(()),
        };
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on a release is not missed, even before the first poll.
            room.as_mut().enable();
            entry = match self.offer(*entry) {
                Err(NotTaken::Full(entry)) => entry,
                Err(NotTaken::Closed) => return Err(TracingError::Disconnected),
                Ok(()) => return Ok(()),
            };
            self.wake.now();
            room.await;
        }
    }

    /// Drops the oldest that is not on its way until there is room; says whether there is.
    fn make_room(&self, max: usize) -> bool {
        while self.bytes.load(Ordering::Relaxed) > max {
            let oldest = {
                let mut backlog = lock(&self.backlog);
                // Requests are small, and a trace without its start or end is worth less than an event.
                // What is in the spool takes no memory to speak of.
                let place = backlog.iter().position(|outgoing| outgoing.is_batch() && !outgoing.spooled);
                place.and_then(|place| backlog.remove(place))
            };
            if let Some(batch) = oldest {
                self.release(batch.bytes());
                self.drop_events(batch.trace_id, batch.events, DropReason::BufferFull);
            } else if let Some(entry) = self.buffer.take_oldest() {
                self.release(entry.bytes);
                self.drop_entry(&entry, DropReason::BufferFull);
            } else {
                return false;
            }
        }
        true
    }

    pub(crate) fn drop_entry(&self, entry: &Entry, reason: DropReason) {
        self.counters.dropped(reason, 1);
        Counters::add(&self.counters.unbatched, 1);
        if reason == DropReason::Closed && !self.mailbox.is_open() {
            // Nobody is left to tell the server, and for the next background it would be the first of its next trace.
            return;
        }
        lock(&self.drops).entry(entry.trace_id).or_default().events += 1;
    }

    /// Events that were in a batch.
    pub(crate) fn drop_events(&self, trace_id: Uuid, events: u32, reason: DropReason) {
        self.counters.dropped(reason, u64::from(events));
        lock(&self.drops).entry(trace_id).or_default().batched += u64::from(events);
    }

    /// What was dropped since the last call.
    pub(crate) fn take_drops(&self) -> HashMap<Uuid, Drops> {
        std::mem::take(&mut *lock(&self.drops))
    }

    /// Whether what is recorded and not settled takes half of the memory that it may take.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.settings.buffer_bytes / 2
    }

    /// Counts memory that the background took.
    pub(crate) fn hold(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts memory that was given back.
    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.settings.when_full == WhenFull::Wait {
            self.room.notify_waiters();
        }
    }

    /// The queue of what is ready to be sent.
    pub(crate) fn backlog(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        lock(&self.backlog)
    }

    /// Hands the background something to do; false if there is none.
    pub(crate) fn command(&self, command: Command) -> bool {
        let taken = self.mailbox.put(command);
        self.wake.now();
        taken
    }

    /// The same, as soon as there is room.
    pub(crate) async fn command_when_room(&self, command: Command) -> bool {
        let taken = self.mailbox.put_when_room(command).await;
        self.wake.now();
        taken
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether the client is shut down.
    pub(crate) fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
        // Whoever waits for room will not get any.
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// An id for a question.
    pub(crate) fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn metrics(&self) -> ClientMetrics {
        let mut metrics = self.counters.snapshot();
        let before_batches = self.counters.unbatched.load(Ordering::Relaxed);
        let in_buffer = self.buffer.len() as u64;
        metrics.events_recorded = metrics.events_batched + in_buffer + before_batches;
        let settled = metrics.events_acked + metrics.events_rejected + metrics.events_dropped();
        let taken = metrics.events_recorded + metrics.events_from_spool;
        metrics.events_waiting = taken.saturating_sub(settled);
        metrics.buffered_bytes = self.bytes.load(Ordering::Relaxed) as u64;
        metrics
    }
}

/// Nothing panics while it holds one of these locks; if something did, what is in there is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
