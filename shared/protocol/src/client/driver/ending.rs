//! How the background ends: after a shutdown, or by a panic.
//!
//! Guarantee: whoever waits is answered, after everything was let go of. The spool in particular: a program that starts its client
//! again at once finds it free. Nothing here logs, since what panicked may have been the program's own log.

use super::super::mailbox::{Asked, Command};
use super::super::metrics::{Counters, DropReason};
use super::super::shared::Status;
use super::super::undelivered::{Outcome, PANICKED};
use super::Driver;

impl Driver {
    /// Everything is delivered, or the time is over. Answers the shutdowns, and everybody else who waits.
    pub(super) fn finish(&mut self, mut answers: Vec<(Asked, Outcome)>) {
        for (up_to, flush) in std::mem::take(&mut self.waiting.flushes) {
            let left = self.left(up_to);
            let outcome = self.shared.outcome(&flush.since, left);
            answers.push((flush, outcome));
        }
        let left = self.left(u64::MAX);
        self.let_go();
        for late in self.close() {
            let outcome = self.shared.outcome(&late.since, left.clone());
            answers.push((late, outcome));
        }
        // What was let go of has been told as what waits.
        self.shared.all_told();
        self.ended = true;
        answers.into_iter().for_each(|(asked, outcome)| asked.answer(outcome));
    }

    /// Drops what is not settled; in the spool it stays.
    fn let_go(&mut self) {
        let in_flight = self.connection.session().map(|session| std::mem::take(&mut session.in_flight));
        let in_flight = in_flight.into_iter().flatten().map(|flight| flight.outgoing);
        let backlog = std::mem::take(&mut *self.shared.backlog());
        for outgoing in in_flight.chain(backlog) {
            self.shared.release(outgoing.bytes());
            if outgoing.spooled {
                continue;
            }
            if outgoing.is_batch() {
                self.shared.drop_events(outgoing.trace_id, outgoing.events, DropReason::Closed);
            } else {
                Counters::add(&self.shared.counters.requests_lost, 1);
            }
        }
        let in_hand = std::mem::take(&mut self.hand);
        for mut segment in in_hand.into_iter().chain(self.shared.buffer.take_all()) {
            while let Some(entry) = segment.pop() {
                self.shared.release(entry.bytes);
                self.shared.drop_entry(&entry, DropReason::Closed);
            }
        }
        for (trace_id, events, bytes) in self.traces.abandon() {
            self.shared.release(bytes);
            self.shared.drop_events(trace_id, events, DropReason::Closed);
        }
        self.growing = 0;
        // Nobody is left to tell the server.
        drop(self.shared.take_drops());
        self.questions.give_up();
        self.spool = None;
    }

    /// From here on there is no background; gives those who asked too late to be heard.
    fn close(&mut self) -> Vec<Asked> {
        self.shared.state().status = Status::Disconnected;
        let late = std::mem::take(&mut self.asked).into_iter().chain(self.shared.mailbox.close());
        late.filter_map(|command| match command {
            Command::Flush(asked) | Command::Shutdown(asked, _) => Some(asked),
            _ => None,
        })
        .collect()
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

impl Drop for Driver {
    /// A background that goes without having ended has panicked. Nobody is to wait for it, or to take its silence for success: every
    /// flush and shutdown says so, and nothing is recorded any more, until the next `connect`.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut failure = self.left(u64::MAX);
        failure.reason = PANICKED.to_owned();
        self.shared.set_closed(true);
        self.let_go();
        {
            let mut state = self.shared.state();
            state.last_error = Some(failure.reason.clone());
            state.failure = Some(failure.clone());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let flushes = waiting.flushes.into_iter().map(|(_, flush)| flush);
        let late = self.close();
        for asked in flushes.chain(waiting.shutdowns).chain(late) {
            asked.answer(Err(failure.clone()));
        }
        self.shared.all_told();
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::time::Duration;

    use super::super::super::{TracingClient, TracingError};
    use crate::{TraceEvent, TraceId};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A client whose background panics as soon as it takes what was recorded.
    async fn doomed() -> (TracingClient, TraceId) {
        let client = TracingClient::with_server_url("ws://127.0.0.1:9");
        let event = || TraceEvent::actor_created("a".to_owned());
        let trace_id = client.current_trace_id();
        client.record_event(trace_id.clone(), event()).await.expect("there is room");
        client
            .record_unfinished(trace_id.0, event(), None, Some((Box::new(|_| panic!("as the test wants it")), 0)))
            .await
            .expect("there is room");
        (client, trace_id)
    }

    #[tokio::test]
    async fn a_background_that_panics_is_told_to_everybody_who_waits_and_asks() {
        let (client, trace_id) = doomed().await;
        let (first, second) = tokio::join!(client.flush_within(PATIENCE), client.flush_within(PATIENCE));
        for outcome in [first, second, client.flush_within(PATIENCE).await, client.shutdown_within(PATIENCE).await] {
            let undelivered = outcome.expect_err("nothing was delivered");
            assert!(undelivered.events == 2 && undelivered.reason.contains("panicked"), "{undelivered}");
        }
        assert!(matches!(client.flush().await, Err(TracingError::Timeout)));
        let after = client.record_event(trace_id, TraceEvent::actor_created("b".to_owned())).await;
        assert!(matches!(after, Err(TracingError::Disconnected)), "{after:?}");
        let metrics = client.metrics();
        assert_eq!((metrics.buffered_bytes, metrics.events_recorded, metrics.dropped_closed), (0, 3, 3), "{metrics:?}");
        assert_eq!(client.connection_status(), "Disconnected");
    }

    #[tokio::test]
    async fn after_a_panic_connecting_starts_another() {
        let (client, trace_id) = doomed().await;
        client.shutdown_within(PATIENCE).await.expect_err("nothing was delivered");
        client.connect_within(Duration::from_millis(1)).await.expect_err("there is no server");
        client.record_event(trace_id, TraceEvent::actor_created("b".to_owned())).await.expect("it records");
        let undelivered = client.flush_within(Duration::from_millis(1)).await.expect_err("there is no server");
        assert!(undelivered.events == 1 && !undelivered.reason.contains("panicked"), "{undelivered}");
    }
}
