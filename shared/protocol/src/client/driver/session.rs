//! One connection: frames out as fast as it takes them, frames in, and what is on its way.
//!
//! Writing and reading go on side by side in one poll. A server that stops reading because it cannot get rid of its answers would
//! otherwise wait for us while we wait for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use uuid::Uuid;
use web_time::Instant;

use super::super::answers::{Due, Kind, Whose};
use super::super::batch::{Outgoing, What};
use super::super::transport::{Frame, Link, LinkError};
use crate::wire::Limits;

/// Frames handled before other things get their turn.
const FRAMES_AT_ONCE: usize = 256;
/// Bytes handed to the socket's buffer before they are flushed.
const FLUSH_BYTES: usize = 256 << 10;

/// See the module.
pub(crate) struct Session {
    link: Link,
    pub(crate) v2: bool,
    /// v2 greets with its limits; nothing is sent before.
    pub(crate) ready: bool,
    pub(crate) limits: Limits,
    outbox: VecDeque<Frame>,
    unflushed: usize,
    /// What waits for its ack, oldest first.
    pub(crate) in_flight: VecDeque<InFlight>,
    /// Other answers that are due; in v1 the acks of events too.
    pub(crate) due: Due,
    /// A sign of life was asked for.
    pub(crate) asked_for_life: bool,
    /// The server has asked for the client's figures.
    pub(crate) wants_reports: bool,
    /// It was asked for the subscriptions that the connection before had.
    pub(crate) subscribed: bool,
    /// What the server has found wrong with the session, or with a frame that it could not tell from others.
    pub(crate) complaint: Option<String>,
}

/// Something on its way.
pub(crate) struct InFlight {
    pub(crate) outgoing: Outgoing,
    pub(crate) sent: Instant,
    /// Answers to come.
    pub(crate) answers: usize,
    pub(crate) rejected: u64,
}

impl Session {
    pub(crate) fn new(link: Link, v2: bool) -> Self {
        Self {
            link,
            v2,
            ready: !v2,
            // What a server may refuse that announces nothing; published servers know no limits of their own.
            limits: Limits::default(),
            outbox: VecDeque::new(),
            unflushed: 0,
            in_flight: VecDeque::new(),
            due: Due::new(v2),
            asked_for_life: false,
            wants_reports: false,
            subscribed: false,
            complaint: None,
        }
    }

    /// When the server last gave a sign of life.
    pub(crate) fn heard(&self) -> Instant {
        self.link.heard()
    }

    /// Sends something that must arrive, in these frames.
    pub(crate) fn send(&mut self, mut outgoing: Outgoing, frames: Vec<Frame>, now: Instant) {
        let answers = frames.len();
        let whose = Whose::Outgoing(outgoing.id);
        match outgoing.what {
            What::Start => self.due.push(Kind::Started, whose),
            What::End => self.due.push(Kind::Ended, whose),
            // Answered by its id.
            What::Batch if self.v2 => {}
            What::Batch => (0..answers).for_each(|_| self.due.push(Kind::Event, whose)),
        }
        outgoing.attempts += 1;
        self.outbox.extend(frames);
        self.in_flight.push_back(InFlight { outgoing, sent: now, answers, rejected: 0 });
    }

    /// Sends a request whose answer is due.
    pub(crate) fn ask(&mut self, kind: Kind, whose: Whose, request: String) {
        self.due.push(kind, whose);
        self.outbox.push_back(Frame::Text(request));
    }

    /// Sends something that has no answer.
    pub(crate) fn tell(&mut self, frame: Frame) {
        self.outbox.push_back(frame);
    }

    /// Takes what an answer settles out of what is on its way.
    pub(crate) fn settled(&mut self, id: Uuid) -> Option<InFlight> {
        let place = self.in_flight.iter().position(|flight| flight.outgoing.id == id)?;
        self.in_flight.remove(place)
    }

    /// What is on its way counts for so much in the buffer.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight.iter().map(|flight| flight.outgoing.bytes()).sum()
    }

    pub(crate) fn flight(&mut self, id: Uuid) -> Option<&mut InFlight> {
        self.in_flight.iter_mut().find(|flight| flight.outgoing.id == id)
    }

    /// Writes what can be written; then ready with the frames that have arrived, or with why the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Frame>, LinkError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        let mut frames = Vec::new();
        while frames.len() < FRAMES_AT_ONCE {
            match Pin::new(&mut self.link).poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => frames.push(frame),
                Poll::Ready(Some(Err(error))) if frames.is_empty() => return Poll::Ready(Err(error)),
                Poll::Ready(None) if frames.is_empty() => {
                    return Poll::Ready(Err(LinkError("the server closed the connection".to_owned())));
                }
                // What has arrived is handled first; the end will be seen again.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        if frames.is_empty() { Poll::Pending } else { Poll::Ready(Ok(frames)) }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut link = Pin::new(&mut self.link);
        while !self.outbox.is_empty() && self.unflushed < FLUSH_BYTES {
            match link.as_mut().poll_ready(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {
                    if let Some(frame) = self.outbox.pop_front() {
                        self.unflushed += frame.len().max(1);
                        link.as_mut().start_send(frame)?;
                    }
                }
            }
        }
        if self.unflushed > 0 && link.as_mut().poll_flush(cx)?.is_ready() {
            self.unflushed = 0;
            if !self.outbox.is_empty() {
                // There is more, and the socket takes it: once more, after reading.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says a last word, and goodbye.
    pub(crate) async fn close(mut self, last: Option<Frame>) {
        use futures_util::SinkExt;
        // The server may have gone already.
        if let Some(frame) = last {
            let _ = self.link.send(frame).await;
        }
        let _ = self.link.close().await;
    }
}
