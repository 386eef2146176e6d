//! What goes out, and when: as much of the backlog as may be on its way, in frames that the server takes.
//!
//! A frame over the server's limit would end the session before anything of it was read, and be the first to be sent again on the next:
//! nothing behind it would ever arrive. So it is looked at before: a batch goes in parts, what cannot be made smaller is dropped and told.

use web_time::Instant;

use super::super::batch::{OpenError, Outgoing};
use super::super::metrics::{Counters, DropReason};
use super::super::transport::Frame;
use super::Driver;
use super::keep::load;

/// Events on their way in v1, where each has its own ack.
const V1_WINDOW: usize = 2_000;

impl Driver {
    /// Sends from the backlog, as much as may be on its way.
    pub(super) fn send(&mut self, now: Instant) {
        while let Some((v2, most_bytes)) = self.room(now) {
            let Some(mut outgoing) = self.shared.backlog().pop_front() else { break };
            if !load(&mut self.spool, &self.shared, &mut outgoing) {
                continue;
            }
            match outgoing.frames(v2) {
                Ok(frames) if frames.iter().all(|frame| frame.len() <= most_bytes) => {
                    self.send_one(outgoing, frames, now)
                }
                Ok(_) => self.split(outgoing, &format!("the server takes frames of {most_bytes} bytes")),
                Err(error) => self.unopened(&outgoing, &error),
            }
        }
    }

    /// If something may be sent now: whether in v2, and in frames of how many bytes.
    fn room(&mut self, now: Instant) -> Option<(bool, usize)> {
        let settings = &self.shared.settings;
        let session = self.connection.sender(now)?;
        let most = settings.batches_in_flight.min(session.limits.max_chunks_in_flight).max(1);
        // What is on its way can neither give way nor lie in the spool alone.
        let most_bytes = settings.buffer_bytes / 4;
        let has_room = session.in_flight.len() < most
            && (session.in_flight.is_empty() || session.in_flight_bytes() < most_bytes)
            && (session.v2 || session.due.len() < V1_WINDOW);
        has_room.then_some((session.v2, session.limits.max_frame_bytes))
    }

    fn send_one(&mut self, outgoing: Outgoing, frames: Vec<Frame>, now: Instant) {
        let Some(session) = self.connection.session() else { return };
        let counters = &self.shared.counters;
        if outgoing.is_batch() {
            Counters::add(&counters.batches_sent, 1);
            Counters::add(&counters.batches_resent, u64::from(outgoing.attempts > 0));
        }
        Counters::add(&counters.bytes_sent, frames.iter().map(|frame| frame.len() as u64).sum());
        session.send(outgoing, frames, now);
    }

    fn unopened(&mut self, batch: &Outgoing, error: &OpenError) {
        let (trace_id, events) = (batch.trace_id, batch.events);
        tracing::error!(%error, %trace_id, events, "a batch cannot be opened for protocol v1 and is dropped");
        self.cross_out(batch);
        self.shared.release(batch.bytes());
        self.shared.drop_events(trace_id, events, DropReason::Unwritable);
    }
}
