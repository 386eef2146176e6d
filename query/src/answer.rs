//! A whole response frame, handed out in pieces.
//!
//! Guarantee: its size is known before the first piece leaves, so a frame that was begun is always ended. Events are copied
//! from the opened payloads only when their piece is asked for: an answer costs its own size once, not twice.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use reflow_tracing_bus::MAX_PIECE_BYTES;
use tokio::sync::OwnedSemaphorePermit;

use crate::events::TraceEvents;

/// A frame in parts. As an iterator it yields pieces of [`MAX_PIECE_BYTES`], the last one smaller.
#[derive(Default)]
pub(crate) struct Answer {
    parts: VecDeque<Part>,
    bytes: usize,
    /// Room that a large answer takes until it is gone.
    held: Option<OwnedSemaphorePermit>,
}

enum Part {
    Text(Bytes),
    Events { events: TraceEvents, next: usize, rest: Rest },
}

/// Where in an event the next piece begins.
#[derive(Clone, Copy, Default)]
struct Rest {
    comma_done: bool,
    at: usize,
}

impl Answer {
    /// Appends text.
    pub fn text(&mut self, text: impl Into<Bytes>) {
        let text = text.into();
        self.bytes += text.len();
        self.parts.push_back(Part::Text(text));
    }

    /// Appends events with commas between them.
    pub fn events(&mut self, events: TraceEvents) {
        self.bytes += events.bytes();
        self.parts.push_back(Part::Events { events, next: 0, rest: Rest::default() });
    }

    /// Size of what is left, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back `permit` when the answer is gone.
    pub fn hold(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.held = permit;
    }
}

impl From<Bytes> for Answer {
    fn from(frame: Bytes) -> Self {
        let mut answer = Self::default();
        answer.text(frame);
        answer
    }
}

impl Iterator for Answer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::with_capacity(self.bytes.min(MAX_PIECE_BYTES));
        while let Some(part) = self.parts.front_mut()
            && piece.len() < MAX_PIECE_BYTES
        {
            if part.fill(&mut piece) {
                self.parts.pop_front();
            }
        }
        self.bytes = self.bytes.saturating_sub(piece.len());
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

impl Part {
    /// Copies what fits; true when nothing is left.
    fn fill(&mut self, piece: &mut BytesMut) -> bool {
        match self {
            Self::Text(text) => {
                let fits = text.len().min(room(piece));
                piece.extend_from_slice(&text.split_to(fits));
                text.is_empty()
            }
            Self::Events { events, next, rest } => {
                while let Some(event) = events.get(*next) {
                    if room(piece) == 0 {
                        return false;
                    }
                    if *next > 0 && !rest.comma_done {
                        piece.extend_from_slice(b",");
                        rest.comma_done = true;
                    }
                    let left = &event.as_bytes()[rest.at..];
                    let fits = left.len().min(room(piece));
                    piece.extend_from_slice(&left[..fits]);
                    if fits < left.len() {
                        rest.at += fits;
                        return false;
                    }
                    *next += 1;
                    *rest = Rest::default();
                }
                true
            }
        }
    }
}

fn room(piece: &BytesMut) -> usize {
    MAX_PIECE_BYTES.saturating_sub(piece.len())
}
