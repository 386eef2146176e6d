//! Counts of events that sampling may have left some out of.
//!
//! An event that was recorded with a chance says so, and stands for `1 / chance` events: what was counted and about how many there were are
//! added up side by side, and told together where they differ.

use std::ops::Add;

use reflow_tracing_protocol::TraceEvent;
use reflow_tracing_protocol::wire::SAMPLE_RATE;

/// For how many events this one stands: 1 where nothing was left out.
pub fn weight(event: &TraceEvent) -> f64 {
    let rate = event.data.custom_attributes.get(SAMPLE_RATE).and_then(serde_json::Value::as_f64);
    rate.filter(|rate| *rate > 0.0 && *rate < 1.0).map_or(1.0, f64::recip)
}

/// A sum over the events that are there, and about what it would be over all that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    counted: u64,
    estimated: f64,
}

impl Tally {
    /// Counts one event of this weight.
    pub fn count(&mut self, weight: f64) {
        self.take(1, weight);
    }

    /// Adds what one event of this weight tells, such as its bytes.
    pub fn take(&mut self, amount: u64, weight: f64) {
        self.counted = self.counted.saturating_add(amount);
        self.estimated += amount as f64 * weight;
    }

    /// What was there.
    pub fn counted(self) -> u64 {
        self.counted
    }

    /// About how much there was.
    pub fn estimate(self) -> u64 {
        // Beyond what a number holds there is its greatest.
        (self.estimated.round() as u64).max(self.counted)
    }

    /// Whether sampling left nothing out.
    pub fn is_whole(self) -> bool {
        self.estimate() == self.counted
    }

    /// `12`, or `12 of about 120` where sampling left some out.
    pub fn show(self, show: impl Fn(u64) -> String) -> String {
        match self.is_whole() {
            true => show(self.counted),
            false => format!("{} of about {}", show(self.counted), show(self.estimate())),
        }
    }

    /// The same with what it is that is counted: `1 run`, `12 of about 120 runs`.
    pub fn several(self, what: &str) -> String {
        use crate::shared::show::{count, several};
        match self.is_whole() {
            true => several(self.counted, what),
            false => format!("{} of about {}", count(self.counted), several(self.estimate(), what)),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let counted = self.counted.saturating_add(other.counted);
        Self { counted, estimated: self.estimated + other.estimated }
    }
}

#[cfg(test)]
impl From<u64> for Tally {
    /// All of them whole.
    fn from(counted: u64) -> Self {
        Self { counted, estimated: counted as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples::sampled;

    #[test]
    fn an_event_stands_for_those_that_its_rate_left_out() {
        let event = || TraceEvent::actor_completed("a".into());
        assert_eq!(weight(&event()).to_bits(), 1.0_f64.to_bits());
        assert_eq!(weight(&sampled(event(), 0.25)).to_bits(), 4.0_f64.to_bits());
        for no_chance in [0.0, -0.5, 1.0, 44_100.0] {
            assert_eq!(weight(&sampled(event(), no_chance)).to_bits(), 1.0_f64.to_bits(), "{no_chance}");
        }
    }

    #[test]
    fn both_figures_are_told_where_they_differ() {
        let mut tally = Tally::from(2);
        assert_eq!((tally.show(|n| n.to_string()), tally.several("run")), ("2".to_owned(), "2 runs".to_owned()));
        (0..3).for_each(|_| tally.count(1.0 / 0.3));
        assert_eq!((tally.counted(), tally.estimate()), (5, 12));
        assert_eq!(tally.several("run"), "5 of about 12 runs");
        assert_eq!((tally + Tally::from(1)).show(|n| n.to_string()), "6 of about 13");
    }
}
