//! How a writer works, as plain values.

use std::time::Duration;

use reflow_tracing_bus::PullLimits;
use reflow_tracing_service::Config;
use reflow_tracing_store::{CompactPolicy, RetentionPolicy};

/// What a [`crate::Writer`] goes by.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Chunks in one transaction at most.
    pub max_chunks: usize,
    /// Bytes of them at most.
    pub max_bytes: usize,
    /// How long an idle writer waits for more chunks after the first. While a commit is under way it gathers until that is done.
    pub linger: Duration,
    /// A drain begins so long after it was asked for, at most.
    pub max_wait: Duration,
    /// Half of how long the bus waits for an ack: so often a chunk in hand is reported as still being worked on.
    pub progress_interval: Duration,
    /// A commit that takes longer counts as an outage of the store.
    pub commit_timeout: Duration,
    /// First pause after the store did not answer; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause while the store is away: so soon its return is noticed.
    pub retry_max: Duration,
    /// How often a chunk may fail while others are stored, before it goes to the dead letters.
    pub max_failures: u32,
    /// The time, µs since the epoch.
    pub clock: fn() -> i64,
}

/// What is done beside writing, and how often.
#[derive(Clone, Debug)]
pub struct BackgroundOptions {
    /// Small chunks are merged; `None` leaves them.
    pub compact: Option<Compaction>,
    /// What may stay.
    pub retention: RetentionPolicy,
    /// Between two runs of compaction and retention.
    pub upkeep_interval: Duration,
    /// Between two looks at how far the writers are behind.
    pub lag_interval: Duration,
    /// Between two looks at the size of the store.
    pub stats_interval: Duration,
    /// A run that takes longer is given up, and the next one tries again.
    pub run_timeout: Duration,
    /// The time, µs since the epoch.
    pub clock: fn() -> i64,
}

/// When a trace is compacted.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// So long after its last activity.
    pub after: Duration,
    /// Without an end it counts as ended after so long.
    pub trace_idle: Duration,
    /// Only with so many small chunks.
    pub min_chunks: usize,
    /// A merged chunk stays under this.
    pub max_chunk_bytes: usize,
    /// Traces a step; other writers wait for none of them longer than that.
    pub max_traces: usize,
}

impl WriterOptions {
    /// As configured.
    pub fn of(config: &Config) -> Self {
        let nats = &config.bus.nats;
        Self {
            max_chunks: config.writer.batch_chunks,
            max_bytes: config.writer.batch_bytes,
            linger: config.writer.batch_wait(),
            max_wait: Duration::from_millis(500),
            progress_interval: nats.ack_wait() / 3,
            // Longer than a store's own limit on a transaction, which tells more.
            commit_timeout: config.writer.commit_timeout() * 3 / 2,
            retry_min: (nats.nak_delay() / 8).max(Duration::from_millis(1)),
            retry_max: nats.nak_delay(),
            max_failures: nats.max_deliveries,
            clock: system_clock,
        }
    }

    /// One batch; `linger` for more after the first chunk.
    pub(crate) fn pull_limits(&self, linger: Duration) -> PullLimits {
        PullLimits { max_messages: self.max_chunks, max_bytes: self.max_bytes, linger, max_wait: self.max_wait }
    }

    /// The pause before the `n`th attempt after the store did not answer, from 1.
    pub(crate) fn retry_pause(&self, n: u32) -> Duration {
        self.retry_min.saturating_mul(2_u32.saturating_pow(n.saturating_sub(1))).min(self.retry_max.max(self.retry_min))
    }
}

impl BackgroundOptions {
    /// As configured.
    pub fn of(config: &Config) -> Self {
        let retention = &config.retention;
        let compact = Compaction {
            after: retention.compaction_after(),
            trace_idle: retention.trace_idle(),
            min_chunks: 2,
            max_chunk_bytes: config.limits.max_chunk_bytes,
            max_traces: 64,
        };
        Self {
            compact: retention.compaction.then_some(compact),
            retention: RetentionPolicy {
                max_age_us: retention.max_age().map(micros),
                max_bytes: retention.max_bytes(),
                // For ever is as long as a number of microseconds can say, some 290,000 years.
                dedupe_horizon_us: retention.dedupe_horizon().map_or(i64::MAX, micros),
            },
            upkeep_interval: retention.compaction_interval(),
            lag_interval: Duration::from_secs(5),
            stats_interval: Duration::from_secs(30),
            // Far above what a run takes: a connection that was cut off without a word would hold it for ever.
            run_timeout: Duration::from_secs(3_600),
            clock: system_clock,
        }
    }
}

impl Compaction {
    pub(crate) fn policy(&self, now_us: i64) -> CompactPolicy {
        CompactPolicy {
            idle_before_us: now_us.saturating_sub(micros(self.after)),
            min_chunks: self.min_chunks,
            max_chunk_bytes: self.max_chunk_bytes,
            max_traces: self.max_traces,
            trace_idle_us: micros(self.trace_idle),
        }
    }
}

/// The time, µs since the epoch, by the system's clock.
pub fn system_clock() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_cap() {
        let options = WriterOptions {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
            ..WriterOptions::of(&Config::default())
        };
        let pauses: Vec<_> = [1, 2, 4, 5, 1_000].map(|n| options.retry_pause(n).as_millis()).to_vec();
        assert_eq!(pauses, [100, 200, 800, 1_000, 1_000]);
    }
}
