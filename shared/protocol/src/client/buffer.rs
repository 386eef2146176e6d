//! Where recorded events wait for the background. Bounded in bytes; pushing costs no more than a short, nearly always free lock.
//!
//! Events lie in shards, each under a lock of its own. A thread has its favourite shard and takes the next free one if that is
//! busy, so threads hardly ever wait for each other; the background takes whole segments out, so it holds a lock for a pointer's
//! swap. Events of one thread may therefore change places with each other: order never matters, every event carries its time.
//!
//! Left out on purpose: what to do when there is no room. [`super::shared::Shared`] knows what else could give way.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use serde_json::Value;
use uuid::Uuid;

use crate::{TraceEvent, TraceEventType};

/// Events a segment: some 32 KiB.
const SEGMENT: usize = 64;
/// Emptied segments that a shard keeps for reuse, so that a steady load allocates nothing and touches no fresh memory: what a thread records
/// in a few milliseconds, half a mebibyte.
const SPARE: usize = 16;
/// More threads than this share.
const SHARDS: usize = 16;

/// What still has to be done to an event before it is written, in the background.
pub(crate) type Finish = Box<dyn FnOnce(&mut TraceEvent) + Send>;

/// An event that waits.
pub(crate) struct Entry {
    pub(crate) trace_id: Uuid,
    pub(crate) event: TraceEvent,
    /// Hashing of content and the like.
    pub(crate) finish: Option<Finish>,
    /// What it counts for in the buffer.
    pub(crate) bytes: usize,
}

/// Some events of one shard, oldest first.
pub(crate) struct Segment {
    entries: VecDeque<Entry>,
    /// Where it is given back to: only there is its memory of use, to the thread that fills it.
    shard: usize,
}

/// See the module.
pub(crate) struct Buffer {
    shards: Box<[Shard]>,
    /// Events in all shards; for a moment too few, when an event is taken before its pusher has counted it.
    events: AtomicIsize,
    /// Where the background looks first.
    turn: AtomicUsize,
}

// As far apart as caches care, so that threads do not share a line.
#[repr(align(128))]
struct Shard(Mutex<Segments>);

struct Segments {
    shard: usize,
    list: VecDeque<Segment>,
    spare: Vec<Segment>,
}

impl Entry {
    pub(crate) fn new(trace_id: Uuid, event: TraceEvent, finish: Option<Finish>) -> Self {
        let bytes = size_of::<Self>() + held_bytes(&event);
        Self { trace_id, event, finish, bytes }
    }
}

impl Segment {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest, which stays in.
    pub(crate) fn first(&mut self) -> Option<&mut Entry> {
        self.entries.front_mut()
    }

    /// Takes the oldest out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let segments = |shard| Segments { shard, list: VecDeque::new(), spare: Vec::new() };
        let shards = (0..SHARDS).map(|shard| Shard(Mutex::new(segments(shard)))).collect();
        Self { shards, events: AtomicIsize::new(0), turn: AtomicUsize::new(0) }
    }

    /// Events waiting.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.events.load(Ordering::SeqCst)).unwrap_or(0)
    }

    pub(crate) fn push(&self, entry: Entry) {
        self.free_shard().push(entry);
        // Sequentially consistent, together with the background's flag that it sleeps: see `wake.rs`.
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes the oldest segment of some shard, each shard in its turn.
    pub(crate) fn take(&self) -> Option<Segment> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..SHARDS).find_map(|step| {
            let segment = lock(&self.shards[(turn + step) % SHARDS]).list.pop_front()?;
            self.events.fetch_sub(segment.len() as isize, Ordering::SeqCst);
            (!segment.is_empty()).then_some(segment)
        })
    }

    /// Takes everything that was pushed before the call.
    pub(crate) fn take_all(&self) -> Vec<Segment> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let list = std::mem::take(&mut lock(shard).list);
            let events: usize = list.iter().map(Segment::len).sum();
            self.events.fetch_sub(events as isize, Ordering::SeqCst);
            all.extend(list);
        }
        all
    }

    /// Gives an emptied segment back for reuse.
    pub(crate) fn recycle(&self, segment: Segment) {
        let mut shard = lock(&self.shards[segment.shard]);
        if shard.spare.len() < SPARE && segment.is_empty() {
            shard.spare.push(segment);
        }
    }

    /// Takes the oldest event of all, by the events' own times.
    pub(crate) fn take_oldest(&self) -> Option<Entry> {
        let oldest = |shard: &Shard| lock(shard).list.front()?.entries.front().map(|entry| entry.event.timestamp);
        let (_, shard) =
            self.shards.iter().filter_map(|shard| Some((oldest(shard)?, shard))).min_by_key(|(at, _)| *at)?;
        let mut shard = lock(shard);
        let segment = shard.list.front_mut()?;
        let entry = segment.pop();
        if segment.is_empty() {
            shard.list.pop_front();
        }
        if entry.is_some() {
            self.events.fetch_sub(1, Ordering::SeqCst);
        }
        entry
    }

    fn free_shard(&self) -> MutexGuard<'_, Segments> {
        let home = home();
        for step in 0..SHARDS {
            match self.shards[(home + step) % SHARDS].0.try_lock() {
                Ok(segments) => return segments,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.shards[home % SHARDS])
    }
}

impl Segments {
    fn push(&mut self, entry: Entry) {
        match self.list.back_mut() {
            Some(segment) if segment.len() < SEGMENT => segment.entries.push_back(entry),
            _ => {
                let fresh = || Segment { entries: VecDeque::with_capacity(SEGMENT), shard: self.shard };
                let mut segment = self.spare.pop().unwrap_or_else(fresh);
                segment.entries.push_back(entry);
                self.list.push_back(segment);
            }
        }
    }
}

/// Nothing in here panics while it holds a lock but for want of memory; then what is there is still whole.
fn lock(shard: &Shard) -> MutexGuard<'_, Segments> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The favourite shard of this thread.
fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // While a thread ends its locals are gone; any shard will do then.
    HOME.try_with(|home| {
        if home.get() == usize::MAX {
            home.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        home.get()
    })
    .unwrap_or(0)
}

/// Bytes of an event outside of the struct itself, nearly.
fn held_bytes(event: &TraceEvent) -> usize {
    let data = &event.data;
    let ports = match &event.event_type {
        TraceEventType::DataFlow { to_actor, to_port } => to_actor.len() + to_port.len(),
        _ => 0,
    };
    let message = data
        .message
        .as_ref()
        .map_or(0, |message| message.message_type.len() + message.checksum.len() + message.serialized_data.len());
    let state = data.state_diff.as_ref().map_or(0, |diff| diff.after.len() + diff.before.as_ref().map_or(0, Vec::len));
    let attributes: usize = data.custom_attributes.iter().map(|(key, value)| 64 + key.len() + value_bytes(value)).sum();
    event.actor_id.len()
        + ports
        + data.port.as_ref().map_or(0, String::len)
        + message
        + state
        + data.error.as_ref().map_or(0, String::len)
        + attributes
        + event.causality.dependency_chain.len() * size_of::<Uuid>()
        + event.causality.span_id.len()
}

fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(value_bytes).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| 64 + key.len() + value_bytes(value)).sum(),
        }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn entry(actor: &str) -> Entry {
        Entry::new(Uuid::nil(), TraceEvent::actor_created(actor.to_owned()), None)
    }

    #[test]
    fn what_threads_push_comes_out_once() {
        let buffer = Arc::new(Buffer::new());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let buffer = Arc::clone(&buffer);
                std::thread::spawn(move || (0..1_000).for_each(|i| buffer.push(entry(&format!("{thread}/{i}")))))
            })
            .collect();
        let mut actors = Vec::new();
        let mut take = || {
            while let Some(mut segment) = buffer.take() {
                actors.extend(std::iter::from_fn(|| segment.pop()).map(|entry| entry.event.actor_id));
                buffer.recycle(segment);
            }
        };
        for thread in threads {
            take();
            thread.join().unwrap();
        }
        take();
        actors.sort();
        actors.dedup();
        assert_eq!((actors.len(), buffer.len()), (4_000, 0));
    }

    #[test]
    fn everything_is_taken_from_every_shard() {
        let buffer = Arc::new(Buffer::new());
        for thread in 0..40 {
            let buffer = Arc::clone(&buffer);
            std::thread::spawn(move || (0..thread).for_each(|_| buffer.push(entry("a")))).join().unwrap();
        }
        let taken: usize = buffer.take_all().iter().map(Segment::len).sum();
        assert_eq!((taken, buffer.len()), ((0..40).sum(), 0));
    }

    #[test]
    fn emptied_segments_go_back_to_the_thread_that_fills_them() {
        let buffer = &Buffer::new();
        buffer.push(entry("a"));
        let mut segment = buffer.take().unwrap();
        let home = segment.shard;
        let spare = || lock(&buffer.shards[home]).spare.len();
        segment.pop().unwrap();
        // Another thread empties it, as the background does.
        std::thread::scope(|scope| scope.spawn(|| buffer.recycle(segment)).join().unwrap());
        assert_eq!(spare(), 1);
        buffer.push(entry("b"));
        assert_eq!((spare(), buffer.take().unwrap().shard), (0, home));
    }

    #[test]
    fn the_oldest_of_all_shards_goes_first() {
        let buffer = Arc::new(Buffer::new());
        for actor in ["a", "b", "c"] {
            let buffer = Arc::clone(&buffer);
            std::thread::spawn(move || buffer.push(entry(actor))).join().unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| buffer.take_oldest()).map(|entry| entry.event.actor_id).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn large_content_counts() {
        let mut large = entry("a").event;
        large.data.custom_attributes.insert("k".into(), serde_json::json!([{"text": "x".repeat(10_000)}]));
        let large = Entry::new(Uuid::nil(), large, None);
        assert!(large.bytes > entry("a").bytes + 10_000);
    }
}
