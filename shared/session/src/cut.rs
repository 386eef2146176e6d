//! Cuts events into chunks that fit into a message of the bus. Only for chunks that the server builds: a v2 batch is ONE chunk,
//! which its client splits.

use reflow_tracing_chunk::{Chunk, ChunkBuilder, Header, Rejected};

use crate::capabilities::Shared;

/// Events of one trace, cut.
pub(crate) struct Cut {
    /// The chunks.
    pub(crate) chunks: Vec<Chunk>,
    /// For each event, its chunk's place in `chunks`, or why it was refused.
    pub(crate) places: Vec<Result<usize, String>>,
}

impl Cut {
    /// `start` makes an empty chunk for the part that begins at the event of that index; parts after the first must have other ids.
    pub(crate) fn new(shared: &Shared, events: &[&str], start: &mut dyn FnMut(usize) -> ChunkBuilder) -> Self {
        let mut cut = Self { chunks: Vec::new(), places: Vec::with_capacity(events.len()) };
        cut.add(shared, events, 0, start);
        cut
    }

    fn add(&mut self, shared: &Shared, events: &[&str], first: usize, start: &mut dyn FnMut(usize) -> ChunkBuilder) {
        let limits = &shared.limits;
        let mut builder = start(first);
        let checked: Vec<Result<(), Rejected>> = events.iter().map(|event| builder.push_event(event)).collect();
        let built = match builder.build(limits.codec, limits.level) {
            Ok(chunk) => chunk,
            Err(error) => {
                self.places.extend(events.iter().map(|_| Err(error.to_string())));
                return;
            }
        };
        // Nothing to cut: marks alone are bounded where they come in, and the bus has the last word.
        if events.is_empty() || shared.fits(&built) {
            let place = self.chunks.len();
            self.places.extend(checked.into_iter().map(|checked| checked.map(|()| place).map_err(|no| no.to_string())));
            self.push(built);
        } else if let [_] = events {
            let (bytes, max) = (built.encoded_len(), limits.max_chunk_bytes);
            self.places
                .push(Err(format!("event is {bytes} bytes when compressed; at most {max} (max_chunk_bytes) fit")));
            // What the trace's marks say, which stand in its first part, must not be lost with the event.
            if first == 0
                && let Ok(marks) = start(first).build(limits.codec, limits.level)
            {
                self.push(marks);
            }
        } else {
            let (left, right) = events.split_at(events.len() / 2);
            self.add(shared, left, first, start);
            self.add(shared, right, first + left.len(), start);
        }
    }

    /// Keeps a chunk that says something: one without events and marks would begin a trace of nothing.
    fn push(&mut self, chunk: Chunk) {
        if chunk.header.event_count > 0 || marked(&chunk.header) {
            self.chunks.push(chunk);
        }
    }
}

fn marked(header: &Header) -> bool {
    header.started_us.is_some() || header.ended.is_some() || header.closed_us.is_some()
}
