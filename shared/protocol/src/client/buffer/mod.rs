//! Where recorded events wait for the background. Bounded in bytes; pushing costs no more than a short, nearly always free lock.
//!
//! Events lie in shards, each under a lock of its own. A thread has its favourite shard and takes the next free one if that is
//! busy, so threads hardly ever wait for each other; the background takes whole segments out, so it holds a lock for a pointer's
//! swap. Events of one thread may therefore change places with each other: order never matters, every event carries its time.
//!
//! Left out on purpose: what to do when there is no room. [`super::shared::Shared`] knows what else could give way.

mod entry;
mod segment;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) use self::entry::{Entry, Finish};
pub(crate) use self::segment::Segment;
use self::segment::Spares;

/// More threads than this share.
const SHARDS: usize = 16;

/// See the module.
pub(crate) struct Buffer {
    shards: Box<[Shard]>,
    /// Events in all shards; for a moment too few, when an event is taken before its pusher has counted it.
    events: AtomicIsize,
    /// Where the background looks first.
    turn: AtomicUsize,
    spares: Mutex<Spares>,
}

// As far apart as caches care, so that threads do not share a line.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<VecDeque<Segment>>);

impl Buffer {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, events: AtomicIsize::new(0), turn: AtomicUsize::new(0), spares: Mutex::default() }
    }

    /// Events waiting.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.events.load(Ordering::SeqCst)).unwrap_or(0)
    }

    pub(crate) fn push(&self, entry: Entry) {
        let mut shard = self.free_shard();
        match shard.back_mut() {
            Some(segment) if !segment.is_full() => segment.push(entry),
            _ => {
                let spare = lock(&self.spares).take();
                let mut segment = spare.unwrap_or_else(Segment::new);
                segment.push(entry);
                shard.push_back(segment);
            }
        }
        drop(shard);
        // Sequentially consistent, together with the background's flag that it sleeps: see `wake.rs`.
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes the oldest segment of some shard, each shard in its turn.
    pub(crate) fn take(&self) -> Option<Segment> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..SHARDS).find_map(|step| {
            let segment = lock(&self.shards[(turn + step) % SHARDS].0).pop_front()?;
            self.events.fetch_sub(segment.len() as isize, Ordering::SeqCst);
            (!segment.is_empty()).then_some(segment)
        })
    }

    /// Takes everything that was pushed before the call.
    pub(crate) fn take_all(&self) -> Vec<Segment> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let list = std::mem::take(&mut *lock(&shard.0));
            let events: usize = list.iter().map(Segment::len).sum();
            self.events.fetch_sub(events as isize, Ordering::SeqCst);
            all.extend(list);
        }
        all
    }

    /// Gives an emptied segment back, to be filled again.
    pub(crate) fn recycle(&self, segment: Segment) {
        lock(&self.spares).put(segment);
    }

    /// Gives back the memory that nobody has needed since the last call.
    pub(crate) fn give_back(&self) {
        let unneeded = lock(&self.spares).take_unneeded();
        // Nobody waits for the lock while it is freed.
        drop(unneeded);
    }

    /// Takes the oldest event of all, by the events' own times.
    pub(crate) fn take_oldest(&self) -> Option<Entry> {
        let oldest = |shard: &Shard| lock(&shard.0).front_mut()?.first().map(|entry| entry.event.timestamp);
        let (_, shard) =
            self.shards.iter().filter_map(|shard| Some((oldest(shard)?, shard))).min_by_key(|(at, _)| *at)?;
        let mut shard = lock(&shard.0);
        let segment = shard.front_mut()?;
        let entry = segment.pop();
        let emptied = if segment.is_empty() { shard.pop_front() } else { None };
        drop(shard);
        if let Some(segment) = emptied {
            self.recycle(segment);
        }
        if entry.is_some() {
            self.events.fetch_sub(1, Ordering::SeqCst);
        }
        entry
    }

    fn free_shard(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        let home = home();
        for step in 0..SHARDS {
            match self.shards[(home + step) % SHARDS].0.try_lock() {
                Ok(segments) => return segments,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.shards[home % SHARDS].0)
    }
}

/// Nothing in here panics while it holds a lock but for want of memory; then what is there is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::segment::SEGMENT;
    use super::*;
    use crate::TraceEvent;

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
    fn a_burst_takes_the_memory_of_the_one_before_it() {
        let buffer = &Buffer::new();
        let spares = || lock(&buffer.spares).len();
        let burst = |segments: usize| (0..segments * SEGMENT).for_each(|_| buffer.push(entry("a")));
        let empty = || {
            while let Some(mut segment) = buffer.take() {
                while segment.pop().is_some() {}
                buffer.recycle(segment);
            }
        };
        // In another thread, as the background does.
        let in_background = || std::thread::scope(|scope| scope.spawn(empty).join().unwrap());
        burst(100);
        in_background();
        assert_eq!(spares(), 100);
        burst(40);
        assert_eq!(spares(), 60);
        in_background();
        assert_eq!((spares(), buffer.len()), (100, 0));
    }

    #[test]
    fn a_segment_is_filled_up_behind_what_was_taken_out_of_it() {
        let buffer = Buffer::new();
        (0..3).for_each(|_| buffer.push(entry("a")));
        assert!(buffer.take_oldest().is_some());
        (0..SEGMENT).for_each(|_| buffer.push(entry("b")));
        let segments = buffer.take_all();
        assert_eq!(segments.iter().map(Segment::len).collect::<Vec<_>>(), [SEGMENT - 1, 3]);
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
}
