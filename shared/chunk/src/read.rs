//! Opens a payload again: for readers of history, for live subscribers, for compaction.

use std::borrow::Cow;

use bytes::Bytes;
use reflow_tracing_protocol::codec::{self, CodecError};
use reflow_tracing_protocol::wire::EventArray;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::header::{Encoding, Header};

/// Why a stored payload cannot be read. Never the reader's fault: it was checked when it came in.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The payload cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It is not JSON.
    #[error("payload is not the JSON it should be: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not UTF-8.
    #[error("payload is not UTF-8")]
    Utf8,
    /// The header tells a size that no chunk has: it is damaged.
    #[error("header tells {0} decompressed bytes; no chunk has more than {MAX_RAW_BYTES}")]
    Size(usize),
    /// Written by a newer version.
    #[error("payload encoding {0} is not known to this build")]
    Encoding(i32),
}

/// Above this a told size is damage, not data: it bounds what a reader allocates.
const MAX_RAW_BYTES: usize = 256 << 20;

/// The events of a payload: its text, and where each is in it.
#[derive(Clone, Debug)]
pub struct StoredEvents {
    text: String,
    index: Vec<StoredEvent>,
}

/// One event's place in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event's id.
    pub event_id: Uuid,
    /// When it happened, µs since the epoch.
    pub at_us: i64,
    start: u32,
    end: u32,
}

/// How events must be changed for a 0.2.1 reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1Rewrite {
    /// Not at all: the common case is a copy.
    None,
    /// Null and missing figures become 0.
    Figures,
}

#[derive(Deserialize)]
struct Key {
    event_id: Uuid,
    #[serde(deserialize_with = "reflow_tracing_protocol::wire::timestamp::deserialize")]
    timestamp: chrono::DateTime<chrono::Utc>,
}

/// Opens a payload. `header.raw_size` bounds what it may decompress to.
pub fn decode_events(header: &Header, payload: &Bytes) -> Result<StoredEvents, ReadError> {
    if header.event_count == 0 && payload.is_empty() {
        return Ok(StoredEvents { text: String::new(), index: Vec::new() });
    }
    if Encoding::try_from(header.encoding) != Ok(Encoding::JsonArray) {
        return Err(ReadError::Encoding(header.encoding));
    }
    let size = header.raw_size as usize;
    if size > MAX_RAW_BYTES {
        return Err(ReadError::Size(size));
    }
    let raw = codec::Codec::from(header.codec()).decompress(payload, size, size)?;
    let text = String::from_utf8(raw).map_err(|_| ReadError::Utf8)?;
    let count = header.event_count as usize;
    let index = match index_events(&text, count) {
        Some(index) => index,
        None => index_by_serde(&text)?,
    };
    Ok(StoredEvents { text, index })
}

/// Ids, times and places in one pass, as events are read when they come in. `None` when something is not read so.
fn index_events(text: &str, count: usize) -> Option<Vec<StoredEvent>> {
    // What a damaged header tells must not be allocated.
    let mut index = Vec::with_capacity(count.min(text.len() / 64));
    let mut events = EventArray::new(text);
    while let Some((event, place)) = events.next_with_place().ok()? {
        let at_us = event.timestamp.timestamp_micros();
        let (start, end) = (place.start as u32, place.end as u32);
        index.push(StoredEvent { event_id: event.event_id, at_us, start, end });
    }
    Some(index)
}

/// The same of events that a build before this one took and this one would not.
fn index_by_serde(text: &str) -> Result<Vec<StoredEvent>, ReadError> {
    let events: Vec<&RawValue> = serde_json::from_str(text)?;
    let base = text.as_ptr() as usize;
    let place = |event: &&RawValue| {
        let raw = event.get();
        let key: Key = serde_json::from_str(raw)?;
        let start = raw.as_ptr() as usize - base;
        let end = start + raw.len();
        let at_us = key.timestamp.timestamp_micros();
        Ok(StoredEvent { event_id: key.event_id, at_us, start: start as u32, end: end as u32 })
    };
    events.iter().map(place).collect()
}

impl StoredEvents {
    /// The events, in the order they were sent.
    pub fn index(&self) -> &[StoredEvent] {
        &self.index
    }

    /// An event's JSON as it was sent.
    pub fn raw(&self, event: &StoredEvent) -> &str {
        &self.text[event.start as usize..event.end as usize]
    }

    /// Every event's JSON, in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&StoredEvent, &str)> {
        self.index.iter().map(|event| (event, self.raw(event)))
    }
}

impl V1Rewrite {
    /// What the chunk's events need.
    pub fn of(header: &Header) -> Self {
        if header.needs_v1_rewrite { Self::Figures } else { Self::None }
    }

    /// The event as a 0.2.1 reader can read it.
    pub fn apply(self, raw: &str) -> Result<Cow<'_, str>, serde_json::Error> {
        if self == Self::None {
            return Ok(Cow::Borrowed(raw));
        }
        let mut event: Value = serde_json::from_str(raw)?;
        let data = &mut event["data"];
        if !data["performance_metrics"].is_object() {
            data["performance_metrics"] = json!({});
        }
        for figure in ["execution_time_ns", "memory_usage_bytes", "queue_depth"] {
            or_zero(&mut data["performance_metrics"], figure, json!(0));
        }
        for figure in ["cpu_usage_percent", "throughput_msgs_per_sec"] {
            or_zero(&mut data["performance_metrics"], figure, json!(0.0));
        }
        if data["message"].is_object() {
            or_zero(&mut data["message"], "size_bytes", json!(0));
        }
        serde_json::to_string(&event).map(Cow::Owned)
    }
}

fn or_zero(object: &mut Value, key: &str, zero: Value) {
    if object[key].is_null() {
        object[key] = zero;
    }
}
