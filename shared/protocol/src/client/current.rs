//! The trace that events belong to which name none.
//!
//! Read for every event, by every thread, and written once a trace: readers take no lock and write nothing (a sequence lock), so
//! that they never wait for each other.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard};

use uuid::Uuid;

use super::shared::lock;

/// See the module.
pub(crate) struct Current {
    /// Odd while the halves are written.
    version: AtomicU64,
    halves: [AtomicU64; 2],
    /// A `start_trace` has named it. Until then events gather under the id that the first `start_trace` will give. The lock is also
    /// what writers take turns by.
    started: Mutex<bool>,
}

impl Current {
    pub(crate) fn new() -> Self {
        let (high, low) = Uuid::now_v7().as_u64_pair();
        let halves = [AtomicU64::new(high), AtomicU64::new(low)];
        Self { version: AtomicU64::new(0), halves, started: Mutex::new(false) }
    }

    pub(crate) fn get(&self) -> Uuid {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let [high, low] = [0, 1].map(|half: usize| self.halves[half].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return Uuid::from_u64_pair(high, low);
            }
            std::hint::spin_loop();
        }
    }

    /// Begins a trace: the one whose events have gathered, if nobody has named it, else a new one.
    pub(crate) fn start(&self) -> Uuid {
        let mut started = lock(&self.started);
        if *started {
            self.replace(&mut started);
        }
        *started = true;
        self.get()
    }

    /// If this is the current trace, events gather for the next from here on, under the id that is given.
    pub(crate) fn end(&self, trace_id: Uuid) -> Option<Uuid> {
        let mut started = lock(&self.started);
        (self.get() == trace_id).then(|| self.replace(&mut started))
    }

    /// Events gather for the next trace from here on.
    pub(crate) fn reset(&self) {
        self.replace(&mut lock(&self.started));
    }

    fn replace(&self, started: &mut MutexGuard<'_, bool>) -> Uuid {
        **started = false;
        let fresh = Uuid::now_v7();
        let (high, low) = fresh.as_u64_pair();
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.halves[0].store(high, Ordering::Relaxed);
        self.halves[1].store(low, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_first_start_names_what_has_gathered() {
        let current = Current::new();
        let gathered = current.get();
        assert_eq!(current.start(), gathered);
        let second = current.start();
        assert_ne!(second, gathered);
        assert_eq!(current.end(gathered), None);
        let third = current.end(second);
        assert_eq!(third, Some(current.get()));
        assert_eq!(Some(current.start()), third);
    }

    #[test]
    fn readers_never_see_half_of_one_and_half_of_another() {
        let current = Arc::new(Current::new());
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let current = Arc::clone(&current);
                std::thread::spawn(move || (0..100_000).map(|_| current.get()).collect::<HashSet<_>>())
            })
            .collect();
        let mut given = HashSet::from([current.get()]);
        while readers.iter().any(|reader| !reader.is_finished()) {
            current.reset();
            given.insert(current.get());
        }
        for reader in readers {
            assert!(reader.join().unwrap().is_subset(&given));
        }
    }
}
