//! Execution times as a mergeable histogram.
//!
//! Guarantee: merging is addition and maximum only, so any order and grouping gives the same result. Buckets are powers
//! of two of nanoseconds: bucket `i` holds times `t` with `2^(i-1) < t ≤ 2^i` (bucket 0: `t ≤ 1`), which is exact enough
//! for a percentile on a log scale and needs no configuration that two writers could disagree on.

use prost::Message;

/// Buckets a histogram can have: up to 2^47 ns (39 hours); longer times count in the last.
pub const BUCKETS: usize = 48;

/// Measured execution times. A time that was not measured is not in it, not even as zero.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TimeStats {
    /// How many times were measured.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Their sum, ns (saturating).
    #[prost(uint64, tag = "2")]
    pub sum_ns: u64,
    /// The greatest, ns.
    #[prost(uint64, tag = "3")]
    pub max_ns: u64,
    /// Counts a bucket, without trailing zeros; at most [`BUCKETS`] long.
    #[prost(uint64, repeated, tag = "4")]
    pub buckets: Vec<u64>,
}

impl TimeStats {
    /// Adds one measured time.
    pub fn add(&mut self, time_ns: u64) {
        let bucket = bucket_of(time_ns);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
        self.max_ns = self.max_ns.max(time_ns);
    }

    /// Adds all of `other`. Commutative and associative.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Upper bound, in ns, of the bucket that holds quantile `q` (0 to 1); `None` when nothing was measured.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((self.count as f64) * q.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut below = 0_u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            if below >= rank {
                return Some((1_u64 << bucket).min(self.max_ns));
            }
        }
        Some(self.max_ns)
    }
}

fn bucket_of(time_ns: u64) -> usize {
    let exact = match time_ns {
        0 | 1 => 0,
        more => (u64::BITS - (more - 1).leading_zeros()) as usize,
    };
    exact.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_upper_bounds() {
        assert_eq!([0, 1, 2, 3, 4, 5, 1024, 1025].map(bucket_of), [0, 0, 1, 2, 2, 3, 10, 11]);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantile_of_nothing_is_none() {
        assert_eq!(TimeStats::default().quantile_ns(0.5), None);
        let mut times = TimeStats::default();
        (0..100).for_each(|_| times.add(1000));
        times.add(1_000_000);
        assert_eq!(times.quantile_ns(0.5), Some(1024));
        assert_eq!(times.quantile_ns(1.0), Some(1_000_000));
    }
}
