//! Events in the memory that they wait in, and what becomes of that memory: emptied segments are filled again.
//!
//! What made recording slow, when it was, was nothing but memory that a thread touched for the first time: a page fault costs more than all the
//! rest of it, and in a fresh segment every eighth event or so has one. So a program pays for memory in its first burst, and then
//! only for what is larger than any burst of the minutes before.

use super::Entry;

/// Events a segment: some 32 KiB.
pub(super) const SEGMENT: usize = 64;
/// Emptied segments that are kept, however seldom all of them are needed: half a mebibyte.
const KEPT_SPARE: usize = 16;
/// Most emptied segments that are kept: a quarter of what the buffer holds by default.
const MAX_SPARE: usize = 512;
/// Some events of one shard, oldest first.
pub(crate) struct Segment {
    /// `None` where one was taken out.
    entries: Vec<Option<Entry>>,
    /// Before this one all were.
    next: usize,
}

/// Emptied segments. Asked for once in so many pushes as a segment has events, so one lock is enough for all threads.
#[derive(Default)]
pub(super) struct Spares {
    list: Vec<Segment>,
    /// The fewest there were since memory was last given back.
    fewest: usize,
}

impl Segment {
    pub(super) fn new() -> Self {
        Self { entries: Vec::with_capacity(SEGMENT), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it takes no more, until it was emptied and cleared.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() == SEGMENT
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(Some(entry));
    }

    /// The oldest, which stays in.
    pub(crate) fn first(&mut self) -> Option<&mut Entry> {
        self.entries.get_mut(self.next)?.as_mut()
    }

    /// Takes the oldest out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.get_mut(self.next)?.take();
        self.next += 1;
        entry
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.next = 0;
    }
}

impl Spares {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes an emptied one, to be filled again.
    pub(super) fn put(&mut self, mut segment: Segment) {
        segment.clear();
        if self.list.len() < MAX_SPARE {
            self.list.push(segment);
        }
    }

    /// Gives one to fill.
    pub(super) fn take(&mut self) -> Option<Segment> {
        let segment = self.list.pop();
        self.fewest = self.fewest.min(self.list.len());
        segment
    }

    /// Gives those that nobody has needed since the last call.
    pub(super) fn take_unneeded(&mut self) -> Vec<Segment> {
        let keep = self.list.len() - self.fewest.saturating_sub(KEPT_SPARE);
        let unneeded = self.list.split_off(keep);
        self.fewest = keep;
        unneeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needed_since_the_last_time_is_given_back() {
        let spares = &mut Spares::default();
        let put = |spares: &mut Spares, segments| (0..segments).for_each(|_| spares.put(Segment::new()));
        put(spares, 100);
        // They have not been there since the last time.
        assert_eq!(spares.take_unneeded().len(), 0);
        (0..30).for_each(|_| assert!(spares.take().is_some()));
        put(spares, 30);
        assert_eq!((spares.take_unneeded().len(), spares.len()), (70 - KEPT_SPARE, 30 + KEPT_SPARE));
        // Then nothing is recorded any more.
        assert_eq!((spares.take_unneeded().len(), spares.len()), (30, KEPT_SPARE));
        assert_eq!((spares.take_unneeded().len(), spares.len()), (0, KEPT_SPARE));
    }

    #[test]
    fn emptied_segments_are_bounded_and_take_what_fresh_ones_take() {
        let spares = &mut Spares::default();
        (0..2 * MAX_SPARE).for_each(|_| spares.put(Segment::new()));
        assert_eq!(spares.len(), MAX_SPARE);
        let mut segment = Segment::new();
        let fill = |segment: &mut Segment| {
            while !segment.is_full() {
                let event = crate::TraceEvent::actor_created("a".to_owned());
                segment.push(Entry::new(uuid::Uuid::nil(), event, None));
            }
            assert_eq!((segment.len(), segment.entries.capacity()), (SEGMENT, SEGMENT));
        };
        fill(&mut segment);
        while segment.pop().is_some() {}
        assert!(segment.is_empty() && segment.first().is_none());
        let spares = &mut Spares::default();
        spares.put(segment);
        fill(&mut spares.take().unwrap());
    }
}
