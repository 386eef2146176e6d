//! What was not delivered: what `flush_within` and `shutdown_within` say beside `Ok`.
//!
//! Guarantee: `Ok` means that everything recorded before the call is stored, and that nothing was lost since the last answer. What was lost
//! is told once, to everybody who was waiting at the time.

use std::fmt;

use super::metrics::ClientMetrics;
use super::shared::Shared;

/// Why nothing more was delivered, where the background is to blame.
pub(crate) const PANICKED: &str = "the background of the tracing client has panicked; `connect` starts another";

/// What a flush or a shutdown answers.
pub(crate) type Outcome = std::result::Result<(), Undelivered>;

/// What of the recorded events is not known to be stored when `flush_within` or `shutdown_within` returns, and what never will be.
///
/// The first four fields are about what waits: after a flush it stays where it is and is sent on; after a shutdown what of it is in the spool
/// is sent at the next start, and the rest is lost. The next three are about what was lost before, since a flush or a shutdown
/// last answered. What `record_event` and the `trace_*` calls have refused with an error (after a shutdown) is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// Events without an ack: they wait, or are on their way.
    pub events: u64,
    /// In so many batches.
    pub batches: u64,
    /// Of the events, those that lie in the spool and are sent at the next start.
    pub spooled: u64,
    /// Starts and ends of traces without an ack.
    pub requests: u64,
    /// Events that the client has dropped: the buffer was full, or they could not be written as JSON or read from the spool again.
    pub dropped: u64,
    /// Events that the server has refused for good: one by one, with their batch, or because one alone was too large for it.
    pub rejected: u64,
    /// Starts and ends of traces that were dropped, or refused for good.
    pub requests_lost: u64,
    /// What keeps or kept them, such as the last error of the connection, or the server's own words.
    pub reason: String,
}

impl Undelivered {
    /// Whether something may still arrive.
    pub(crate) fn waits(&self) -> bool {
        self.events + self.batches + self.requests > 0
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, batches, spooled, requests, dropped, rejected, requests_lost, reason } = self;
        if self.waits() {
            write!(f, "{events} events in {batches} batches")?;
            if *requests > 0 {
                write!(f, " and {requests} starts or ends of traces")?;
            }
            write!(f, " were not delivered in time ({spooled} of the events are in the spool)")?;
        }
        if dropped + rejected + requests_lost > 0 {
            let and = if self.waits() { "; " } else { "" };
            write!(f, "{and}since the last flush {dropped} events were dropped and {rejected} refused")?;
            if *requests_lost > 0 {
                write!(f, ", and {requests_lost} starts or ends of traces lost")?;
            }
        }
        write!(f, ": {reason}")
    }
}

impl std::error::Error for Undelivered {}

/// What was lost for good so far. Not what was refused with an error when it was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    buffer_full: u64,
    spool: u64,
    unwritable: u64,
    too_large: u64,
    refused: u64,
    rejected: u64,
    requests: u64,
}

impl Lost {
    pub(crate) fn of(metrics: &ClientMetrics) -> Self {
        Self {
            buffer_full: metrics.dropped_buffer_full,
            spool: metrics.dropped_spool,
            unwritable: metrics.dropped_unwritable,
            too_large: metrics.dropped_too_large,
            refused: metrics.dropped_refused,
            rejected: metrics.events_rejected,
            requests: metrics.requests_lost,
        }
    }

    /// Adds what was lost since `before`; gives why, empty if nothing was.
    pub(crate) fn tell(&self, before: &Self, undelivered: &mut Undelivered) -> String {
        let mut reasons = Vec::new();
        let mut count = |now: u64, before: u64, reason: &str| {
            let lost = now.saturating_sub(before);
            if lost > 0 {
                reasons.push(format!("{lost} {reason}"));
            }
            lost
        };
        undelivered.dropped = count(self.buffer_full, before.buffer_full, "for want of room in the buffer")
            + count(self.spool, before.spool, "could not be read from the spool")
            + count(self.unwritable, before.unwritable, "could not be written as JSON");
        undelivered.rejected = count(self.too_large, before.too_large, "alone larger than the server takes")
            + count(self.refused, before.refused, "refused with their batch")
            + count(self.rejected, before.rejected, "refused one by one");
        undelivered.requests_lost = count(self.requests, before.requests, "starts or ends of traces");
        reasons.join(", ")
    }
}

impl Shared {
    /// What a flush or a shutdown has last told of as lost.
    pub(crate) fn told(&self) -> Lost {
        self.state().told
    }

    /// What is lost by now counts as told.
    pub(crate) fn all_told(&self) {
        let lost = Lost::of(&self.metrics());
        self.state().told = lost;
    }

    /// What a flush or a shutdown is to answer, where `left` waits, and `since` was told before.
    pub(crate) fn outcome(&self, since: &Lost, mut left: Undelivered) -> Outcome {
        let now = Lost::of(&self.metrics());
        let lost = now.tell(since, &mut left);
        let mut state = self.state();
        state.told = now;
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if !left.waits() && lost.is_empty() {
            return Ok(());
        }
        let slow = || Some("the server has not acked them yet".to_owned());
        let keeps = if left.waits() { state.last_error.clone().or_else(slow) } else { None };
        let refused = state.refusal.clone().filter(|_| left.rejected + left.requests_lost > 0);
        let reasons = [keeps, state.spool_error.clone(), Some(lost).filter(|lost| !lost.is_empty()), refused];
        left.reason = reasons.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Err(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_since_then_is_told_apart_and_why() {
        let before = Lost { buffer_full: 5, rejected: 1, ..Lost::default() };
        let now = Lost { buffer_full: 12, too_large: 1, rejected: 3, requests: 4, ..Lost::default() };
        let mut undelivered = Undelivered::default();
        undelivered.reason = now.tell(&before, &mut undelivered);
        assert_eq!((undelivered.dropped, undelivered.rejected, undelivered.requests_lost), (7, 3, 4));
        let text = undelivered.to_string();
        assert!(text.contains("7 events were dropped and 3 refused, and 4 starts"), "{text}");
        assert!(text.contains("7 for want of room") && text.contains("1 alone larger"), "{text}");
        assert!(!text.contains("in time"), "{text}");
        assert_eq!(now.tell(&now, &mut undelivered), "");
        assert_eq!(undelivered.dropped + undelivered.rejected + undelivered.requests_lost, 0);
    }
}
