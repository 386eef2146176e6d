//! What sampling left out, told from what it kept.
//!
//! An event that was recorded with a chance of `r` stands for `1 / r` events: itself, which is counted where everything is counted, and
//! `1 / r - 1` more, which are counted here. So counts say what is stored, and with this beside them what happened. Guarantee: whole
//! numbers that are only added, so that any order and grouping gives the same result.
//!
//! Events are in thousandths: one of three stands for 3.333 at a rate of 0.3, and thousands of them rounded one by one would be a
//! tenth off.

use prost::Message;

/// A rate below this counts as this, so that no event can say that it stands for everything: a million of its kind at most.
const LEAST_RATE: f64 = 1e-6;

/// Estimates of what was left out beside some events. All zero, or not there at all, where nothing says that it was sampled.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeftOut {
    /// Events, in thousandths.
    #[prost(uint64, tag = "1")]
    pub events_milli: u64,
    /// Bytes of their messages, as far as those kept were measured.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Sum of their execution times, ns, as far as those kept were measured.
    #[prost(uint64, tag = "3")]
    pub time_ns: u64,
}

impl LeftOut {
    /// Beside one event that was recorded with this chance (above 0, below 1) and has these measures, 0 where it has none.
    pub fn beside(rate: f64, bytes: u64, time_ns: u64) -> Self {
        // At most a thousand million: the cast is exact.
        let events_milli = ((1.0 / rate.max(LEAST_RATE) - 1.0) * 1000.0).round() as u64;
        let as_many = |measure: u64| {
            let product = u128::from(measure) * u128::from(events_milli);
            u64::try_from((product + 500) / 1000).unwrap_or(u64::MAX)
        };
        Self { events_milli, bytes: as_many(bytes), time_ns: as_many(time_ns) }
    }

    /// Adds all of `other`. Commutative and associative.
    pub fn merge(&mut self, other: &Self) {
        self.events_milli = self.events_milli.saturating_add(other.events_milli);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.time_ns = self.time_ns.saturating_add(other.time_ns);
    }

    /// Adds what may not be there.
    pub fn merge_into(mine: &mut Option<Self>, theirs: Option<&Self>) {
        if let Some(theirs) = theirs {
            mine.get_or_insert_default().merge(theirs);
        }
    }

    /// Whole events.
    pub fn events(&self) -> u64 {
        self.events_milli.saturating_add(500) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_stands_for_as_many_as_its_rate_says() {
        let beside = |rate, bytes, time_ns| {
            let LeftOut { events_milli, bytes, time_ns } = LeftOut::beside(rate, bytes, time_ns);
            (events_milli, bytes, time_ns)
        };
        assert_eq!(beside(0.1, 100, 7), (9_000, 900, 63));
        assert_eq!(beside(0.3, 30, 0), (2_333, 70, 0));
        assert_eq!(beside(0.999, 1_000, 0), (1, 1, 0));
        assert_eq!(beside(1e-300, 1, u64::MAX), (999_999_000, 999_999, u64::MAX));
    }

    #[test]
    fn thousandths_add_up_to_whole_events() {
        let mut sum = LeftOut::default();
        (0..3_000).for_each(|_| sum.merge(&LeftOut::beside(0.3, 0, 0)));
        assert_eq!(sum.events(), 6_999, "7,000 would be exact, 6,000 or 9,000 rounded one by one");
    }
}
