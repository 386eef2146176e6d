//! Who waits for what: a connection, the acks of everything up to a point, the end.

use tokio::sync::oneshot;
use web_time::Instant;

use super::super::metrics::DropReason;
use super::super::shared::Status;
use super::super::{Result, TracingError, Undelivered};
use super::Driver;

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) connects: Vec<(Instant, bool, oneshot::Sender<Result<()>>)>,
    pub(super) flushes: Vec<Flush>,
    pub(super) shutdown: Option<Flush>,
}

/// Somebody waits until everything up to a number is settled.
pub(super) struct Flush {
    pub(super) up_to: u64,
    pub(super) deadline: Instant,
    /// `None`: the client was dropped, nobody hears.
    pub(super) reply: Option<oneshot::Sender<std::result::Result<(), Undelivered>>>,
}

impl Waiting {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let connects = self.connects.iter().map(|(deadline, ..)| *deadline);
        let flushes = self.flushes.iter().chain(&self.shutdown).map(|flush| flush.deadline);
        connects.chain(flushes).min()
    }
}

impl Driver {
    /// Answers those whose wait is over; true when the shutdown is done.
    pub(super) fn settle_waiting(&mut self, now: Instant) -> bool {
        self.settle_connects(now);
        for flush in std::mem::take(&mut self.waiting.flushes) {
            match self.outcome(&flush, now) {
                Some(outcome) => answer(flush, outcome),
                None => self.waiting.flushes.push(flush),
            }
        }
        let Some(shutdown) = self.waiting.shutdown.take() else { return false };
        // A dropped client waits for a connection that stands or is being made, and for no other.
        let hopeless = shutdown.reply.is_none() && !self.connection.is_hopeful();
        match self.outcome(&shutdown, if hopeless { shutdown.deadline } else { now }) {
            Some(outcome) => {
                self.finish(shutdown, outcome);
                true
            }
            None => {
                self.waiting.shutdown = Some(shutdown);
                false
            }
        }
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

    fn outcome(&mut self, flush: &Flush, now: Instant) -> Option<std::result::Result<(), Undelivered>> {
        let mut left = Undelivered::default();
        let mut settled = true;
        let in_flight = self.connection.session().map(|session| session.in_flight.iter());
        let in_flight = in_flight.into_iter().flatten().map(|flight| &flight.outgoing);
        let backlog = self.shared.backlog();
        for outgoing in in_flight.chain(backlog.iter()).filter(|outgoing| outgoing.number <= flush.up_to) {
            settled = false;
            left.events += u64::from(outgoing.events);
            left.batches += u64::from(outgoing.is_batch());
            left.spooled += if outgoing.spooled { u64::from(outgoing.events) } else { 0 };
        }
        drop(backlog);
        if settled {
            return Some(Ok(()));
        }
        (flush.deadline <= now).then(|| {
            let state = self.shared.state();
            let slow = || "the server has not acked them yet".to_owned();
            left.reason = state.last_error.clone().unwrap_or_else(slow);
            if let Some(error) = &state.spool_error {
                left.reason = format!("{}; {error}", left.reason);
            }
            Err(left)
        })
    }

    /// Everything is delivered, or the time is over.
    fn finish(&mut self, shutdown: Flush, outcome: std::result::Result<(), Undelivered>) {
        if let Some(session) = self.connection.session() {
            let lost: Vec<_> = session.in_flight.drain(..).map(|flight| flight.outgoing).collect();
            self.shared.backlog().extend(lost);
        }
        let left = std::mem::take(&mut *self.shared.backlog());
        for outgoing in left {
            self.shared.release(outgoing.bytes());
            if !outgoing.spooled {
                self.shared.drop_events(outgoing.trace_id, outgoing.events, DropReason::Closed);
            }
        }
        self.questions.give_up();
        self.shared.state().status = Status::Disconnected;
        self.shared.set_running(false);
        for flush in std::mem::take(&mut self.waiting.flushes) {
            answer(flush, outcome.clone());
        }
        answer(shutdown, outcome);
    }

    /// Says goodbye to the server.
    pub(super) async fn stop(&mut self) {
        if let Some(session) = self.connection.take_session() {
            let last = if session.wants_reports { self.report_frame() } else { None };
            let goodbye = session.close(last);
            let patience = super::sleep(std::time::Duration::from_secs(1));
            futures_util::future::select(Box::pin(goodbye), Box::pin(patience)).await;
        }
    }
}

fn answer(flush: Flush, outcome: std::result::Result<(), Undelivered>) {
    if let Some(reply) = flush.reply {
        // The caller may have gone.
        let _ = reply.send(outcome);
    }
}
