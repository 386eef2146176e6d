//! How chunks are written, and how long they are kept.

use std::time::Duration;

use super::super::keys::section;

const DAY_SECS: u64 = 86_400;

section! {
    /// How chunks are written: one transaction for as many as come within these bounds.
    pub struct Writer at "writer." {
        /// Chunks in one transaction at most.
        batch_chunks: usize = 50, in 1..=10_000;
        because "the figures of the store were measured with it; more hardly gains"
        /// Bytes of chunks in one transaction at most.
        batch_bytes: usize = 8_388_608, in 65_536..=1_073_741_824;
        because "it bounds memory and how long a transaction holds its locks"
        /// How long to wait for more chunks after the first, in milliseconds.
        batch_wait_ms: u64 = 1, in 0..=10_000;
        because "it adds little to an ack and lets single events share a commit; what comes during a commit shares the next anyway"
        /// Seconds that PostgreSQL may take for a transaction before it is given up and tried again. A chunk that takes longer
        /// alone, again and again while others are stored, goes to the dead letters.
        commit_timeout_secs: u64 = 60, in 1..=3_600;
        because "a commit takes milliseconds; what takes a minute waits for something that may never come"
    }
}

section! {
    /// How long traces are kept.
    pub struct Retention at "retention." {
        /// Days that events are kept, counted from when they were stored. 0: for ever.
        max_age_days: u32 = 30, in 0..=36_500;
        because "a disk is finite, and a month covers what people look back for"
        /// Bytes of compressed events that are kept; beyond it the oldest hours go. What the store has beside them comes on top: a fifth more with 200 events a batch, twice as much again with one event each. 0: no bound.
        max_bytes: u64 = 0, in 0..=1_125_899_906_842_624;
        because "only the operator knows the disk"
        /// Days that chunk ids are remembered, so that a batch sent again counts once; at least 7, and no fewer than the events
        /// are kept. Unset: as long as the events, at least 7.
        dedupe_horizon_days: Option<u32> = None, in 7..=36_500;
        because "a client that was cut off for a week may still send its batches again"
        /// Seconds without an event after which a trace that nobody ended counts as ended.
        trace_idle_secs: u64 = 900, in 1..=31_536_000;
        because "published clients never end a trace, and a pause of a quarter of an hour is rare"
        /// Whether small chunks of ended traces are merged in the background.
        compaction: bool = true;
        because "programs that send one event at a time leave one row an event otherwise"
        /// Seconds between two runs of compaction and retention.
        compaction_interval_secs: u64 = 60, in 1..=86_400;
        because "small chunks then lie about for minutes, not hours"
        /// Seconds after the end of a trace before its chunks are merged.
        compaction_after_secs: u64 = 60, in 0..=86_400;
        because "late chunks are then in, and a trace need not be merged twice"
    }
}

section! {
    /// How a flow name is made of a flow id. Lists, versions and rollups go by flow name.
    pub struct FlowName at "flow_name." {
        /// Whether a generated tail (`_` and 9 digits or more, or a UUID) is cut off.
        strip_generated_tail: bool = true;
        because "published clients call a flow `network_session_` and the time, which would make every run a flow of its own"
    }
}

impl Writer {
    /// How long to wait for more chunks.
    pub fn batch_wait(&self) -> Duration {
        Duration::from_millis(self.batch_wait_ms)
    }

    /// How long a transaction may take.
    pub fn commit_timeout(&self) -> Duration {
        Duration::from_secs(self.commit_timeout_secs)
    }
}

impl Retention {
    /// How long events are kept; `None`: for ever.
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_days > 0).then(|| Duration::from_secs(u64::from(self.max_age_days) * DAY_SECS))
    }

    /// How many bytes the store may take; `None`: no bound.
    pub fn max_bytes(&self) -> Option<u64> {
        (self.max_bytes > 0).then_some(self.max_bytes)
    }

    /// How long chunk ids are remembered; `None`: for ever, because the events are.
    pub fn dedupe_horizon(&self) -> Option<Duration> {
        let days = match (self.dedupe_horizon_days, self.max_age_days) {
            (Some(days), _) => days,
            (None, 0) => return None,
            (None, days) => days.max(7),
        };
        Some(Duration::from_secs(u64::from(days) * DAY_SECS))
    }

    /// How long a trace may be silent before it counts as ended.
    pub fn trace_idle(&self) -> Duration {
        Duration::from_secs(self.trace_idle_secs)
    }

    /// Time between two runs of compaction and retention.
    pub fn compaction_interval(&self) -> Duration {
        Duration::from_secs(self.compaction_interval_secs)
    }

    /// How long after the end of a trace its chunks are merged.
    pub fn compaction_after(&self) -> Duration {
        Duration::from_secs(self.compaction_after_secs)
    }
}
