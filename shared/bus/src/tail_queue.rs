//! The bounded queue between the bus and one live viewer.
//!
//! Guarantee: the bus never waits for a viewer and never holds more than the limits for one. What does not fit is counted
//! exactly, and the reader gets that count at the place in the stream where the chunks are missing. After an overflow the
//! queue takes chunks again only once it is half empty, so that a slow reader gets one notice instead of one beside every chunk.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::stats::{BusStats, Gauge, add};

/// How much one tail may hold for a reader that is slower than the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailLimits {
    /// At most so many chunks.
    pub max_messages: usize,
    /// At most so many bytes of them (one chunk may exceed it alone).
    pub max_bytes: usize,
}

impl TailLimits {
    /// What the configuration says.
    pub fn of(config: &reflow_tracing_service::config::Config) -> Self {
        Self { max_messages: config.limits.tail_buffer_messages, ..Self::default() }
    }
}

impl Default for TailLimits {
    /// 1,024 chunks and 8 MiB: some seconds of a busy flow. A hundred stuck viewers keep 800 MiB at worst, beside what is being sent to them.
    fn default() -> Self {
        Self { max_messages: 1024, max_bytes: 8 << 20 }
    }
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    Item(T),
    Missed(Option<u64>),
}

/// Makes a queue for one viewer.
pub(crate) fn tail_queue<T>(limits: TailLimits, stats: &Arc<BusStats>) -> (TailWriter<T>, TailReader<T>) {
    let shared = Arc::new(Shared {
        limits,
        stats: Arc::clone(stats),
        state: Mutex::new(State {
            queue: VecDeque::new(),
            messages: 0,
            bytes: 0,
            missed: Missed::Nothing,
            overflowing: false,
            waker: None,
            closed: false,
        }),
    });
    (TailWriter(Arc::clone(&shared)), TailReader { shared, _gauge: Gauge::up(stats, |stats| &stats.tails) })
}

pub(crate) struct TailWriter<T>(Arc<Shared<T>>);
pub(crate) struct TailReader<T> {
    shared: Arc<Shared<T>>,
    /// A tail is open for as long as somebody reads.
    _gauge: Gauge,
}

struct Shared<T> {
    limits: TailLimits,
    stats: Arc<BusStats>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Items with their size, and marks of what is missing between them.
    queue: VecDeque<Slot<T>>,
    messages: usize,
    bytes: usize,
    /// What is missing behind the last of the queue.
    missed: Missed,
    overflowing: bool,
    waker: Option<Waker>,
    /// Writer or reader is gone.
    closed: bool,
}

enum Slot<T> {
    Item(T, usize),
    Missed(Option<u64>),
}

#[derive(Clone, Copy)]
enum Missed {
    Nothing,
    Known(u64),
    Unknown,
}

impl Missed {
    fn take(&mut self) -> Option<Option<u64>> {
        match std::mem::replace(self, Missed::Nothing) {
            Missed::Nothing => None,
            Missed::Known(count) => Some(Some(count)),
            Missed::Unknown => Some(None),
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> TailWriter<T> {
    /// Puts an item in, or counts its events as missed; `events` is asked only then.
    pub(crate) fn push(&self, item: T, size: usize, events: impl FnOnce(&T) -> u64) {
        let Shared { limits, stats, .. } = &*self.0;
        let mut state = self.0.lock();
        let full = state.messages >= limits.max_messages
            || (state.messages > 0 && state.bytes.saturating_add(size) > limits.max_bytes);
        let half_full = state.messages > limits.max_messages / 2 || state.bytes > limits.max_bytes / 2;
        if full || (state.overflowing && half_full) {
            state.overflowing = true;
            state.missed = match (&state.missed, events(&item)) {
                // A chunk of lifecycle marks alone: a viewer misses nothing.
                (Missed::Nothing, 0) => Missed::Nothing,
                (Missed::Nothing, events) => Missed::Known(events),
                (Missed::Known(before), events) => Missed::Known(before + events),
                (Missed::Unknown, _) => Missed::Unknown,
            };
            add(&stats.tail_missed, 1);
            return;
        }
        state.overflowing = false;
        if let Some(missed) = state.missed.take() {
            state.queue.push_back(Slot::Missed(missed));
        }
        state.queue.push_back(Slot::Item(item, size));
        state.messages += 1;
        state.bytes += size;
        add(&stats.tail_chunks, 1);
        wake(state);
    }

    /// Notes that nobody knows how many are missing here.
    pub(crate) fn gap(&self) {
        add(&self.0.stats.tail_gaps, 1);
        let mut state = self.0.lock();
        state.missed = Missed::Unknown;
        wake(state);
    }

    /// Whether anybody still reads.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl<T> Drop for TailWriter<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        wake(state);
    }
}

impl<T> Drop for TailReader<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue = VecDeque::new();
    }
}

/// Wakes the reader after the lock is given back, so that it does not run into it.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Stream for TailReader<T> {
    type Item = Taken<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        match state.queue.pop_front() {
            Some(Slot::Item(item, size)) => {
                state.messages -= 1;
                state.bytes -= size;
                return Poll::Ready(Some(Taken::Item(item)));
            }
            Some(Slot::Missed(missed)) => return Poll::Ready(Some(Taken::Missed(missed))),
            None => {}
        }
        if let Some(missed) = state.missed.take() {
            return Poll::Ready(Some(Taken::Missed(missed)));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn queue(max_messages: usize, max_bytes: usize) -> (TailWriter<u32>, TailReader<u32>) {
        tail_queue(TailLimits { max_messages, max_bytes }, &Arc::new(BusStats::default()))
    }

    fn drain(reader: &mut TailReader<u32>) -> Vec<Taken<u32>> {
        std::iter::from_fn(|| reader.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_is_missing() {
        let (writer, mut reader) = queue(4, 1000);
        (0..10).for_each(|item| writer.push(item, 1, |_| 1));
        assert_eq!(reader.next().now_or_never(), Some(Some(Taken::Item(0))));
        writer.push(10, 1, |_| 1);
        assert_eq!(reader.next().now_or_never(), Some(Some(Taken::Item(1))));
        writer.push(11, 1, |_| 1);
        let rest = drain(&mut reader);
        let expected = [Taken::Item(2), Taken::Item(3), Taken::Missed(Some(7)), Taken::Item(11)];
        assert_eq!(rest, expected);
    }

    #[test]
    fn bytes_are_bounded_but_one_large_item_passes() {
        let (writer, mut reader) = queue(100, 10);
        writer.push(0, 50, |_| 1);
        writer.push(1, 1, |_| 1);
        assert_eq!(drain(&mut reader), [Taken::Item(0), Taken::Missed(Some(1))]);
        writer.push(2, 1, |_| 1);
        assert_eq!(drain(&mut reader), [Taken::Item(2)]);
    }

    #[test]
    fn an_unknown_gap_swallows_a_count() {
        let (writer, mut reader) = queue(1, 10);
        (0..3).for_each(|item| writer.push(item, 1, |_| 1));
        writer.gap();
        drop(writer);
        assert_eq!(drain(&mut reader), [Taken::Item(0), Taken::Missed(None)]);
        assert_eq!(reader.next().now_or_never(), Some(None));
    }

    #[test]
    fn a_reader_that_left_is_noticed() {
        let (writer, reader) = queue(1, 10);
        assert!(!writer.is_closed());
        drop(reader);
        assert!(writer.is_closed());
    }
}
