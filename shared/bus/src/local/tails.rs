//! The live viewers of the local bus.
//!
//! Guarantee: a chunk is shown once to every tail that was open when it was committed. Nobody looking costs one atomic load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reflow_tracing_chunk::Chunk;

use crate::stats::BusStats;
use crate::tail_queue::{TailWriter, Taken, tail_queue};
use crate::{TailFilter, TailItem, TailLimits};

pub(super) struct Tails {
    limits: TailLimits,
    stats: Arc<BusStats>,
    open: Mutex<Vec<(TailFilter, TailWriter<Arc<Chunk>>)>>,
    count: AtomicUsize,
}

impl Tails {
    pub(super) fn new(limits: TailLimits, stats: Arc<BusStats>) -> Self {
        Self { limits, stats, open: Mutex::default(), count: AtomicUsize::new(0) }
    }

    pub(super) fn open(&self, filter: TailFilter) -> BoxStream<'static, TailItem> {
        let (writer, reader) = tail_queue(self.limits, &self.stats);
        // Where nothing is committed, nobody else notices who has left.
        self.change(|open| {
            open.retain(|(_, writer)| !writer.is_closed());
            open.push((filter, writer));
        });
        let items = reader.map(|taken| match taken {
            Taken::Item(chunk) => TailItem::Chunk(chunk),
            Taken::Missed(missed) => TailItem::Missed(missed),
        });
        items.boxed()
    }

    /// Shows a committed chunk of `size` bytes to those who want it.
    pub(super) fn show(&self, chunk: &Arc<Chunk>, size: usize) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.change(|open| {
            open.retain(|(_, writer)| !writer.is_closed());
            for (_, writer) in open.iter().filter(|(filter, _)| filter.passes(&chunk.header)) {
                writer.push(Arc::clone(chunk), size, |chunk| u64::from(chunk.header.event_count));
            }
        });
    }

    pub(super) fn clear(&self) {
        self.change(Vec::clear);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(TailFilter, TailWriter<Arc<Chunk>>)>)) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut open);
        self.count.store(open.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn readers_that_left_leave_nothing_though_nothing_is_committed() {
        let stats = Arc::new(BusStats::default());
        let open_tails = |tails: &AtomicU64| tails.load(Ordering::Relaxed);
        let tails = Tails::new(TailLimits::default(), Arc::clone(&stats));
        let readers: Vec<_> = (0..100).map(|_| tails.open(TailFilter::tenant("default"))).collect();
        assert_eq!(open_tails(&stats.tails), 100);
        drop(readers);
        assert_eq!(open_tails(&stats.tails), 0, "told as soon as they have left");
        let _reader = tails.open(TailFilter::tenant("default"));
        assert_eq!((open_tails(&stats.tails), tails.count.load(Ordering::Relaxed)), (1, 1));
    }
}
