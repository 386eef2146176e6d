//! Who waits for what: a connection, the acks of everything up to a point, the end.

use tokio::sync::oneshot;
use web_time::Instant;

use super::super::buffer::Segment;
use super::super::mailbox::Asked;
use super::super::undelivered::{Outcome, Undelivered};
use super::super::{Result, TracingError};
use super::Driver;

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) connects: Vec<(Instant, bool, oneshot::Sender<Result<()>>)>,
    /// Each waits until everything up to a number is settled.
    pub(super) flushes: Vec<(u64, Asked)>,
    /// These wait until everything is.
    pub(super) shutdowns: Vec<Asked>,
}

impl Waiting {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let connects = self.connects.iter().map(|(deadline, ..)| *deadline);
        let asked = self.flushes.iter().map(|(_, asked)| asked).chain(&self.shutdowns).map(|asked| asked.deadline);
        connects.chain(asked).min()
    }
}

impl Driver {
    /// Answers those whose wait is over; true when the client is to end.
    pub(super) fn settle_waiting(&mut self, now: Instant) -> bool {
        self.settle_connects(now);
        for (up_to, flush) in std::mem::take(&mut self.waiting.flushes) {
            match self.outcome(up_to, &flush, now) {
                Some(outcome) => flush.answer(outcome),
                None => self.waiting.flushes.push((up_to, flush)),
            }
        }
        if self.waiting.shutdowns.is_empty() {
            return false;
        }
        // A dropped client waits for a connection that stands or is being made, and for no other.
        let hopeless = !self.connection.is_hopeful();
        let mut settled = Vec::new();
        for shutdown in std::mem::take(&mut self.waiting.shutdowns) {
            let at = if shutdown.reply.is_none() && hopeless { shutdown.deadline } else { now };
            match self.outcome(u64::MAX, &shutdown, at) {
                Some(outcome) => settled.push((shutdown, outcome)),
                None => self.waiting.shutdowns.push(shutdown),
            }
        }
        if self.waiting.shutdowns.is_empty() {
            self.finish(settled);
            return true;
        }
        settled.into_iter().for_each(|(shutdown, outcome)| shutdown.answer(outcome));
        false
    }

    fn settle_connects(&mut self, now: Instant) {
        let ready = self.connection.is_ready();
        for (deadline, strict, reply) in std::mem::take(&mut self.waiting.connects) {
            let outcome = if ready || (!strict && deadline <= now) {
                Ok(())
            } else if deadline <= now {
                let reason = self.shared.state().last_error.clone();
                Err(reason.map_or(TracingError::Timeout, TracingError::ConnectionFailed))
            } else {
                self.waiting.connects.push((deadline, strict, reply));
                continue;
            };
            // The caller may have gone.
            let _ = reply.send(outcome);
        }
    }

    fn outcome(&mut self, up_to: u64, asked: &Asked, now: Instant) -> Option<Outcome> {
        let left = self.left(up_to);
        (!left.waits() || asked.deadline <= now).then(|| self.shared.outcome(&asked.since, left))
    }

    /// What of everything up to a number is not settled.
    pub(super) fn left(&mut self, up_to: u64) -> Undelivered {
        let mut left = Undelivered::default();
        let in_flight = self.connection.session().map(|session| session.in_flight.iter());
        let in_flight = in_flight.into_iter().flatten().map(|flight| &flight.outgoing);
        let backlog = self.shared.backlog();
        for outgoing in in_flight.chain(backlog.iter()).filter(|outgoing| outgoing.number <= up_to) {
            left.events += u64::from(outgoing.events);
            left.batches += u64::from(outgoing.is_batch());
            left.requests += u64::from(!outgoing.is_batch());
            left.spooled += if outgoing.spooled { u64::from(outgoing.events) } else { 0 };
        }
        if up_to == u64::MAX {
            let in_hand: usize = self.hand.iter().map(Segment::len).sum();
            left.events += (self.shared.buffer.len() + in_hand + self.growing) as u64;
        }
        left
    }
}
