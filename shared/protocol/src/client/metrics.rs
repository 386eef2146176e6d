//! What the client measures of itself.
//!
//! Counters only grow; [`ClientMetrics`] is what they are at one moment. Each change worth a look is a `tracing` event as well,
//! where it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Why events were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    BufferFull,
    Spool,
    TooLarge,
    Refused,
    Closed,
    Unwritable,
}

/// Upper bounds of the latency histogram: powers of two from 128 µs; the last is open.
const BUCKETS: usize = 24;
const FIRST_BUCKET_US: u64 = 128;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The counters, shared between the handles and the background.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)+
            /// Dropped before they were in a batch, for whatever reason.
            pub(crate) unbatched: AtomicU64,
            latency: [AtomicU64; BUCKETS],
        }

        /// The client's own figures, at one moment. Counters only grow.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct ClientMetrics {
            $($(#[$doc])* pub $name: u64,)+
            /// Events recorded, dropped ones included.
            pub events_recorded: u64,
            /// Events that wait in the buffer or in a batch, or are on their way.
            pub events_waiting: u64,
            /// Memory that they take, bytes.
            pub buffered_bytes: u64,
            /// Median time from sending a batch to its ack, µs; `None` before the first ack.
            pub ack_latency_p50_us: Option<u64>,
            /// 90th percentile.
            pub ack_latency_p90_us: Option<u64>,
            /// 99th percentile.
            pub ack_latency_p99_us: Option<u64>,
        }

        impl Counters {
            /// All counters, with what only their owner knows left at zero.
            pub(crate) fn snapshot(&self) -> ClientMetrics {
                ClientMetrics {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    ack_latency_p50_us: self.quantile(0.5),
                    ack_latency_p90_us: self.quantile(0.9),
                    ack_latency_p99_us: self.quantile(0.99),
                    ..ClientMetrics::default()
                }
            }
        }
    };
}

counters! {
    /// Events that have left the buffer for a batch.
    events_batched,
    /// Events that an earlier process left in the spool.
    events_from_spool,
    /// Events that were put into the spool.
    events_spooled,
    /// Bytes of the spool's file now. Not a counter.
    spool_bytes,
    /// Batches for which there was no room in the spool; they stayed in memory.
    spool_full,
    /// Failed reads and writes of the spool. One at the start, and none of [`events_spooled`](Self::events_spooled): it cannot be used, as when
    /// another client uses it, and there is none.
    spool_errors,
    /// Events that the server has acked.
    events_acked,
    /// Events that the server has refused, one by one.
    events_rejected,
    /// Events that sampling left out on purpose. Not drops.
    events_sampled_out,
    /// Events dropped because the buffer was full.
    dropped_buffer_full,
    /// Events dropped because they could not be read from the spool again, or lay in damaged parts of it (there as many as can be told).
    dropped_spool,
    /// Events dropped because one alone was larger than the server takes.
    dropped_too_large,
    /// Events dropped because the server refused their batch for good.
    dropped_refused,
    /// Events dropped because the client was shut down.
    dropped_closed,
    /// Events dropped because they could not be written as JSON.
    dropped_unwritable,
    /// Starts and ends of traces that were given up: for want of room, refused for good, or with the client.
    requests_lost,
    /// Batches sent, again included.
    batches_sent,
    /// Of these, sent again.
    batches_resent,
    /// Batches acked.
    batches_acked,
    /// Batches that were too large for the server and went as two.
    batches_split,
    /// Bytes of events as JSON, before compression, of batches made.
    bytes_before_compression,
    /// The same after.
    bytes_after_compression,
    /// Bytes of frames sent, all kinds.
    bytes_sent,
    /// Bytes of frames received.
    bytes_received,
    /// Connections made.
    connections,
    /// Attempts to connect that failed.
    connect_failures,
    /// Connections lost.
    connections_lost,
    /// Connections that fell back to protocol v1.
    fallbacks_to_v1,
    /// Errors that the server answered.
    server_errors,
    /// Frames that could not be read.
    unreadable_frames,
    /// Live events received.
    live_events,
    /// Live events missed, as far as the server could count them.
    live_missed,
    /// Sum of the times from sending a batch to its ack, µs.
    ack_latency_sum_us,
    /// Acks that have a time.
    ack_latency_count,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, reason: DropReason, events: u64) {
        let counter = match reason {
            DropReason::BufferFull => &self.dropped_buffer_full,
            DropReason::Spool => &self.dropped_spool,
            DropReason::TooLarge => &self.dropped_too_large,
            DropReason::Refused => &self.dropped_refused,
            DropReason::Closed => &self.dropped_closed,
            DropReason::Unwritable => &self.dropped_unwritable,
        };
        Self::add(counter, events);
    }

    pub(crate) fn acked(&self, after: Duration) {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        Self::add(&self.ack_latency_sum_us, us);
        Self::add(&self.ack_latency_count, 1);
        let bucket = (us / FIRST_BUCKET_US).checked_ilog2().map_or(0, |log| log as usize + 1).min(BUCKETS - 1);
        Self::add(&self.latency[bucket], 1);
    }

    /// The upper bound of the bucket that holds the quantile.
    fn quantile(&self, quantile: f64) -> Option<u64> {
        let counts: Vec<u64> = self.latency.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        (total > 0).then(|| FIRST_BUCKET_US << bucket)
    }
}

impl ClientMetrics {
    /// Events dropped, for whatever reason.
    pub fn events_dropped(&self) -> u64 {
        self.dropped_buffer_full
            + self.dropped_spool
            + self.dropped_too_large
            + self.dropped_refused
            + self.dropped_closed
            + self.dropped_unwritable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_bound_what_was_measured() {
        let counters = Counters::default();
        assert_eq!(counters.snapshot().ack_latency_p50_us, None);
        (0..98).for_each(|_| counters.acked(Duration::from_micros(300)));
        (0..2).for_each(|_| counters.acked(Duration::from_millis(70)));
        let metrics = counters.snapshot();
        assert_eq!(metrics.ack_latency_p50_us, Some(512));
        assert_eq!(metrics.ack_latency_p90_us, Some(512));
        assert_eq!(metrics.ack_latency_p99_us, Some(131_072));
        counters.acked(Duration::MAX);
        assert_eq!(counters.snapshot().ack_latency_count, 101);
    }
}
