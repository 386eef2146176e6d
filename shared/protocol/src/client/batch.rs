//! Batches and the other things that must arrive: made once, sent as often as it takes.
//!
//! Guarantee: a batch is compressed once and keeps its id, so that sending it again, to whichever server, changes nothing. For a
//! server that only knows v1 its events are taken out again, one frame each.

use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::transport::Frame;
use crate::TraceEvent;
use crate::codec::{Codec, CodecError};
use crate::wire::{BatchFrame, BatchFrameError, BatchHeader};

/// Something that must arrive.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The batch's id, or the request's.
    pub(crate) id: Uuid,
    /// Its place among all that this client sends; parts of a split batch share it.
    pub(crate) number: u64,
    pub(crate) trace_id: Uuid,
    /// Events in it.
    pub(crate) events: u32,
    pub(crate) what: What,
    pub(crate) body: Body,
    /// It lies in the spool.
    pub(crate) spooled: bool,
    /// How often it was sent.
    pub(crate) attempts: u32,
}

/// What the spool keeps in memory of each thing that lies in it, about.
const PLACE_BYTES: usize = 64;

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Batch,
    /// `StartTrace`.
    Start,
    /// `EndTrace`.
    End,
}

/// What of it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A batch: a whole v2 frame.
    Frame(Bytes),
    /// A start or an end, the same in v1 and v2.
    Text(String),
    /// In the spool alone.
    Spooled,
}

/// Why a batch cannot be opened again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Frame(#[from] BatchFrameError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the batch was not taken out of the spool")]
    NotInMemory,
    #[error("events of the batch: {0}")]
    Json(#[from] serde_json::Error),
}

/// The JSON array of a batch while it grows.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    raw: Vec<u8>,
    events: u32,
}

impl Builder {
    pub(crate) fn events(&self) -> usize {
        self.events as usize
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// How much memory it takes.
    pub(crate) fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// Takes other memory in place of its own. There must be no events in it.
    pub(crate) fn swap_memory(&mut self, memory: &mut Vec<u8>) {
        debug_assert_eq!(self.events, 0, "its events would be lost");
        std::mem::swap(&mut self.raw, memory);
        self.raw.clear();
    }

    /// Adds an event. On an error it is as if it had not been added.
    pub(crate) fn push(&mut self, event: &TraceEvent) -> Result<(), serde_json::Error> {
        let before = self.raw.len();
        self.raw.push(if self.events == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.raw, event).inspect_err(|_| self.raw.truncate(before))?;
        self.events += 1;
        Ok(())
    }

    /// Ends the array, compresses it and puts the header before it. Leaves the builder empty, its memory kept.
    pub(crate) fn seal(&mut self, mut header: BatchHeader, level: i32, number: u64) -> Outgoing {
        if self.events == 0 {
            self.raw.push(b'[');
        }
        self.raw.push(b']');
        header.raw_size = u32::try_from(self.raw.len()).unwrap_or(u32::MAX);
        let compressed = header.codec.compress(&self.raw, level);
        let payload = compressed.as_deref().unwrap_or_else(|_| {
            // No codec fails on a slice in memory; if one did, the batch would still go.
            header.codec = Codec::None;
            &self.raw
        });
        let (id, trace_id) = (header.batch_id, header.trace_id);
        let body = Body::Frame(BatchFrame { header, payload }.encode().into());
        let events = std::mem::take(&mut self.events);
        self.raw.clear();
        Outgoing { id, number, trace_id, events, what: What::Batch, body, spooled: false, attempts: 0 }
    }
}

impl Outgoing {
    /// What it counts for in the buffer.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + if self.spooled { PLACE_BYTES } else { 0 }
            + match &self.body {
                Body::Frame(frame) => frame.len(),
                Body::Text(text) => text.len(),
                Body::Spooled => 0,
            }
    }

    /// What lies in the spool need not lie in memory too.
    pub(crate) fn forget_body(&mut self) {
        if self.spooled {
            self.body = Body::Spooled;
        }
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.what == What::Batch
    }

    /// Its frames: one in v2; in v1 one an event, uncompressed text. It must be in memory.
    pub(crate) fn frames(&self, v2: bool) -> Result<Vec<Frame>, OpenError> {
        match &self.body {
            Body::Frame(frame) if v2 => Ok(vec![Frame::Binary(frame.clone())]),
            Body::Frame(frame) => Self::v1(frame),
            Body::Text(text) => Ok(vec![Frame::Text(text.clone())]),
            Body::Spooled => Err(OpenError::NotInMemory),
        }
    }

    fn v1(frame: &[u8]) -> Result<Vec<Frame>, OpenError> {
        let (header, raw) = open(frame)?;
        let events: Vec<&RawValue> = serde_json::from_slice(&raw)?;
        let trace_id = header.trace_id;
        let frame =
            |event: &RawValue| format!(r#"{{"RecordEvent":{{"trace_id":"{trace_id}","event":{}}}}}"#, event.get());
        Ok(events.into_iter().map(|event| Frame::Text(frame(event))).collect())
    }

    /// Two batches of half the events each, under new ids; `None` if there is but one event.
    pub(crate) fn split(&self, level: i32) -> Result<Option<[Self; 2]>, OpenError> {
        let Body::Frame(frame) = &self.body else { return Err(OpenError::NotInMemory) };
        let (header, raw) = open(frame)?;
        let events: Vec<&RawValue> = serde_json::from_slice(&raw)?;
        if events.len() < 2 {
            return Ok(None);
        }
        let (first, second) = events.split_at(events.len() / 2);
        let part = |events: &[&RawValue], before: usize| {
            let mut raw = vec![b'['];
            for (index, event) in events.iter().enumerate() {
                if index > 0 {
                    raw.push(b',');
                }
                raw.extend_from_slice(event.get().as_bytes());
            }
            let mut builder = Builder { raw, events: events.len() as u32 };
            let sequence = header.sequence + before as u64;
            let header = BatchHeader { batch_id: Uuid::now_v7(), sequence, ..header.clone() };
            builder.seal(header, level, self.number)
        };
        Ok(Some([part(first, 0), part(second, first.len())]))
    }
}

/// Header and decompressed array of a frame that this client, or one before it, has written.
fn open(frame: &[u8]) -> Result<(BatchHeader, Vec<u8>), OpenError> {
    let BatchFrame { header, payload } = BatchFrame::decode(frame)?;
    let raw_size = header.raw_size as usize;
    let raw = header.codec.decompress(payload, raw_size, raw_size)?;
    Ok((header, raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            batch_id: Uuid::now_v7(),
            trace_id: Uuid::now_v7(),
            flow_id: None,
            flow_name: None,
            client_id: "c".into(),
            sequence: 7,
            dropped: 1,
            codec: Codec::Zstd,
            raw_size: 0,
        }
    }

    fn batch(events: usize) -> Outgoing {
        let mut builder = Builder::default();
        (0..events).for_each(|i| builder.push(&TraceEvent::actor_created(i.to_string())).unwrap());
        builder.seal(header(), 1, 3)
    }

    fn actors(batch: &Outgoing) -> Vec<String> {
        let Body::Frame(frame) = &batch.body else { panic!("no batch") };
        let events: Vec<TraceEvent> = serde_json::from_slice(&open(frame).unwrap().1).unwrap();
        events.into_iter().map(|event| event.actor_id).collect()
    }

    #[test]
    fn halves_hold_all_events_and_their_places() {
        let whole = batch(5);
        let [first, second] = whole.split(1).unwrap().unwrap();
        assert_eq!(
            (actors(&first), actors(&second)),
            (vec!["0".into(), "1".into()], vec!["2".into(), "3".into(), "4".into()])
        );
        assert!(whole.id != first.id && first.id != second.id);
        let sequence = |batch: &Outgoing| match &batch.body {
            Body::Frame(frame) => BatchFrame::decode(frame).unwrap().header.sequence,
            Body::Text(_) | Body::Spooled => panic!("no batch"),
        };
        assert_eq!((sequence(&first), sequence(&second)), (7, 9));
        assert!(batch(1).split(1).unwrap().is_none());
    }

    #[test]
    fn v1_gets_one_frame_an_event() {
        let frames = batch(3).frames(false).unwrap();
        assert_eq!(frames.len(), 3);
        let Frame::Text(text) = &frames[2] else { panic!("binary") };
        let request: crate::TracingRequest = serde_json::from_str(text).unwrap();
        assert!(matches!(request, crate::TracingRequest::RecordEvent { event, .. } if event.actor_id == "2"));
    }
}
