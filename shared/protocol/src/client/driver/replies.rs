//! What the server says, and what follows from it.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use web_time::Instant;

use super::super::answers::{Incoming, Kind, Whose};
use super::super::batch::{Outgoing, What};
use super::super::metrics::{Counters, DropReason};
use super::super::report::report;
use super::super::transport::Frame;
use super::Driver;
use super::session::InFlight;
use crate::codec::Codec;
use crate::wire::{Code, RejectedEvent};

/// Answers of history may be 64 MiB.
const MAX_ANSWER_BYTES: usize = 65 << 20;
/// A batch that the server could not take right now is sent again after so long, ...
const PAUSE: Duration = Duration::from_millis(200);
/// ... growing up to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Codec(#[from] crate::codec::CodecError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Reads a frame. Published servers compress long answers; the magic number tells how.
pub(crate) fn read_frame(frame: &Frame) -> Result<Incoming, FrameError> {
    match frame {
        Frame::Text(text) => Ok(serde_json::from_str(text)?),
        Frame::Binary(bytes) => {
            let codec = Codec::sniff(bytes).unwrap_or(Codec::None);
            Ok(serde_json::from_slice(&codec.decompress(bytes, MAX_ANSWER_BYTES, 0)?)?)
        }
    }
}

impl Driver {
    pub(super) fn received(&mut self, frame: &Frame) {
        Counters::add(&self.shared.counters.bytes_received, frame.len() as u64);
        let Some(session) = self.connection.session() else { return };
        session.asked_for_life = false;
        if !session.ready {
            // Whatever it is, the server is there and talks.
            session.ready = true;
            self.show_status();
        }
        match read_frame(frame) {
            Ok(incoming) => self.incoming(incoming),
            Err(error) => {
                Counters::add(&self.shared.counters.unreadable_frames, 1);
                tracing::warn!(%error, "a frame of the tracing server cannot be read");
            }
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Welcome { limits } => {
                if let Some(session) = self.connection.session() {
                    session.limits = limits;
                }
                self.show_status();
            }
            Incoming::Sampling { rules } => {
                tracing::info!(rules = rules.len(), "the tracing server asks to sample");
                self.shared.sampler.server_rules(&rules);
            }
            Incoming::ReportMetrics => self.report(),
            Incoming::BatchRecorded { batch_id, accepted, rejected } => {
                if let Some(flight) = self.settled(batch_id) {
                    self.acked(&flight, accepted as u64, &rejected);
                }
            }
            Incoming::BatchTooLarge { batch_id, max } => {
                if let Some(flight) = self.settled(batch_id) {
                    self.split(flight.outgoing, &format!("the server takes {max} bytes of compressed events"));
                }
            }
            Incoming::Error { message, code, retryable, batch_id: Some(batch_id), .. } => {
                Counters::add(&self.shared.counters.server_errors, 1);
                if let Some(flight) = self.settled(batch_id) {
                    self.refused(flight.outgoing, &message, code, retryable == Some(true));
                }
            }
            Incoming::EventNotification { trace_id, event } => {
                Counters::add(&self.shared.counters.live_events, 1);
                tracing::debug!(%trace_id, event = event.get(), "live event");
            }
            Incoming::Lagged { missed } => {
                Counters::add(&self.shared.counters.live_missed, missed.unwrap_or(1));
                tracing::debug!(?missed, "live events missed");
            }
            answer => self.answer(answer),
        }
    }

    /// Tells the server the client's own figures, and once more at the end.
    fn report(&mut self) {
        if self.connection.is_ready() {
            let frame = self.report_frame();
            if let (Some(session), Some(frame)) = (self.connection.session(), frame) {
                session.wants_reports = true;
                session.tell(frame);
            }
        }
    }

    /// What was counted since the last report.
    pub(super) fn report_frame(&mut self) -> Option<Frame> {
        let now = self.shared.metrics();
        let report = report(&self.shared.client_id, &now, &self.reported_figures);
        let text = serde_json::to_string(&json!({ "ClientMetrics": report })).ok()?;
        self.reported_figures = now;
        Some(Frame::Text(text))
    }

    /// An answer that belongs to something in the order of answers.
    fn answer(&mut self, answer: Incoming) {
        if let Incoming::Error { message, .. } = &answer {
            Counters::add(&self.shared.counters.server_errors, 1);
            tracing::debug!(error = message, "the tracing server answers with an error");
        }
        let Some(session) = self.connection.session() else { return };
        match session.due.take(&answer) {
            Some((_, Whose::Question(id))) => self.questions.answer(id, answer),
            Some((_, Whose::Outgoing(id))) => self.outgoing_answered(id, &answer),
            Some((_, Whose::Nobody)) if matches!(answer, Incoming::Error { .. }) => self.unexpected(answer),
            // It was silent for long and is there: a connection that lasts.
            Some((Kind::Pong, Whose::Nobody)) => self.proven(),
            Some((_, Whose::Nobody)) => tracing::debug!("subscribed again on a new connection"),
            None => self.unexpected(answer),
        }
    }

    fn unexpected(&mut self, answer: Incoming) {
        match (answer, self.connection.session()) {
            (Incoming::Error { message, .. }, Some(session)) => {
                session.complaint = Some(message.clone());
                self.shared.state().last_error = Some(message);
            }
            (answer, _) => tracing::debug!(?answer, "an answer that nobody waits for"),
        }
    }

    /// `StartTrace`, `EndTrace`, or one of the events of a v1 batch.
    fn outgoing_answered(&mut self, id: Uuid, answer: &Incoming) {
        let (refusal, retryable) = match answer {
            Incoming::Error { message, retryable, .. } => (Some(message.clone()), *retryable == Some(true)),
            Incoming::EventRecorded { success: false, error, retryable, .. } => {
                (Some(error.clone().unwrap_or_default()), *retryable == Some(true))
            }
            _ => (None, false),
        };
        let Some(session) = self.connection.session() else { return };
        let v2 = session.v2;
        let Some(flight) = session.flight(id) else { return };
        if let Some(reason) = &refusal {
            flight.rejected += u64::from(flight.outgoing.is_batch());
            let what = flight.outgoing.what;
            if what == What::End && !v2 {
                // Published servers know no ends.
                tracing::debug!(reason, "the tracing server did not take the end of a trace");
            } else {
                tracing::warn!(reason, ?what, "the tracing server refused what was recorded");
                if !retryable {
                    Counters::add(&self.shared.counters.requests_lost, u64::from(what != What::Batch));
                    self.shared.state().refusal = Some(reason.clone());
                }
            }
        }
        flight.answers = flight.answers.saturating_sub(1);
        if flight.answers > 0 {
            return;
        }
        let Some(flight) = self.settled(id) else { return };
        if retryable && !flight.outgoing.is_batch() {
            return self.again(flight.outgoing, &refusal.unwrap_or_default());
        }
        let accepted = u64::from(flight.outgoing.events) - flight.rejected.min(u64::from(flight.outgoing.events));
        Counters::add(&self.shared.counters.events_rejected, flight.rejected);
        self.acked(&flight, accepted, &[]);
    }

    fn settled(&mut self, id: Uuid) -> Option<InFlight> {
        self.connection.session()?.settled(id)
    }

    fn acked(&mut self, flight: &InFlight, accepted: u64, rejected: &[RejectedEvent]) {
        self.cross_out(&flight.outgoing);
        self.shared.release(flight.outgoing.bytes());
        if !flight.outgoing.is_batch() {
            return;
        }
        self.proven();
        let counters = &self.shared.counters;
        counters.acked(flight.sent.elapsed());
        Counters::add(&counters.batches_acked, 1);
        Counters::add(&counters.events_acked, accepted);
        Counters::add(&counters.events_rejected, rejected.len() as u64);
        if let Some(first) = rejected.first() {
            let (trace_id, count) = (flight.outgoing.trace_id, rejected.len());
            tracing::warn!(%trace_id, count, first = first.reason, "the tracing server rejected events");
            self.shared.state().refusal = Some(first.reason.clone());
        }
    }

    /// Makes two of a batch that is too large. What cannot be two is dropped.
    pub(super) fn split(&mut self, batch: Outgoing, reason: &str) {
        if !batch.is_batch() {
            return self.give_up(&batch, reason, DropReason::TooLarge);
        }
        let level = self.shared.settings.level;
        match batch.split(level) {
            Ok(Some(halves)) => {
                Counters::add(&self.shared.counters.batches_split, 1);
                self.shared.release(batch.bytes());
                for mut half in halves.into_iter().rev() {
                    self.keep(&mut half);
                    self.shared.hold(half.bytes());
                    self.shared.backlog().push_front(half);
                }
                // Only now: a crash in between sends both, and the server refuses the whole once more.
                self.cross_out(&batch);
            }
            Ok(None) => self.give_up(&batch, reason, DropReason::TooLarge),
            Err(error) => self.give_up(&batch, &error.to_string(), DropReason::Unwritable),
        }
    }

    fn refused(&mut self, batch: Outgoing, message: &str, code: Option<Code>, retryable: bool) {
        if retryable {
            tracing::debug!(error = message, "the tracing server cannot take a batch right now");
            self.shared.state().last_error = Some(message.to_owned());
            self.again(batch, message);
        } else if code == Some(Code::LimitExceeded) && batch.events > 1 {
            self.split(batch, message);
        } else {
            self.give_up(&batch, message, DropReason::Refused);
        }
    }

    /// Sends it again after a pause; to another server, if there is one.
    fn again(&mut self, mut outgoing: Outgoing, reason: &str) {
        let pause = PAUSE.saturating_mul(1 << outgoing.attempts.min(5)).min(LONGEST_PAUSE);
        let before = outgoing.bytes();
        outgoing.forget_body();
        self.shared.release(before - outgoing.bytes());
        self.shared.backlog().push_front(outgoing);
        if self.urls.len() > 1 {
            self.broken(&format!("the server cannot take anything right now: {reason}"));
        } else {
            self.connection.hold(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
        }
    }

    fn give_up(&mut self, given_up: &Outgoing, reason: &str, why: DropReason) {
        let (trace_id, events) = (given_up.trace_id, given_up.events);
        tracing::error!(%trace_id, events, what = ?given_up.what, reason, "what was recorded is refused for good and dropped");
        {
            let mut state = self.shared.state();
            (state.last_error, state.refusal) = (Some(reason.to_owned()), Some(reason.to_owned()));
        }
        self.cross_out(given_up);
        self.shared.release(given_up.bytes());
        if given_up.is_batch() {
            self.shared.drop_events(trace_id, events, why);
        } else {
            Counters::add(&self.shared.counters.requests_lost, 1);
        }
    }
}
