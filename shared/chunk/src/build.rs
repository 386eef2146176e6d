//! Builds a chunk: checks events, and indexes them in the same pass.
//!
//! What makes an event valid is fixed here and in [`reflow_tracing_protocol::wire`], never by a setting, so that a batch sent again
//! always gives the same chunk and the same answer.

use std::borrow::Cow;
use std::ops::ControlFlow;

use bytes::Bytes;
use reflow_tracing_protocol::codec::{self, CodecError};
use reflow_tracing_protocol::wire::{Event, EventArray, EventType, brief, for_each_element};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::envelope::Chunk;
use crate::header::{Codec, Encoding, ErrorMark, HEADER_VERSION, Header, Origin};
use crate::index::{Edge, Index};
use crate::kind::{EventKind, KindSet};
use crate::left_out::LeftOut;
use crate::names::{MAX_NAME_BYTES, sanitize_error, sanitize_name};

/// Why an event was refused. `Display` is what the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is not an event.
    #[error("not an event: {0}")]
    Shape(String),
    /// A name is too long.
    #[error("{field} is {bytes} bytes long; at most {MAX_NAME_BYTES} are allowed")]
    Name {
        /// Which.
        field: &'static str,
        /// How long.
        bytes: usize,
    },
}

/// Why a batch cannot become a chunk.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The payload is no JSON array, so its events cannot be told apart.
    #[error("events are not a JSON array: {0}")]
    NotAnArray(serde_json::Error),
    /// The payload cannot be compressed or decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The decompressed payload is not UTF-8.
    #[error("events are not UTF-8: {0}")]
    Utf8(std::string::FromUtf8Error),
    /// More events than a batch may hold.
    #[error("batch holds more than {max} events")]
    TooManyEvents {
        /// How many are allowed.
        max: usize,
    },
}

/// The chunk id of a slice of a `StoreTrace`: the same slice of the same trace always has the same id. The events' ids are part
/// of the hash, so that a trace stored again with more events keeps them.
pub fn store_trace_chunk_id(trace_id: Uuid, slice: usize, events: &[&RawValue]) -> Uuid {
    let mut name = format!("slice {slice}").into_bytes();
    for event in events {
        name.push(0);
        name.extend_from_slice(event.get().as_bytes());
    }
    Uuid::new_v5(&trace_id, &name)
}

/// Gathers the events of one chunk.
#[derive(Debug)]
pub struct ChunkBuilder {
    header: Header,
    index: Index,
    raw: Vec<u8>,
}

/// The names in an event, as headers hold them.
struct Names<'e> {
    actor: Cow<'e, str>,
    /// Out-port, receiver and in-port of a `DataFlow`.
    flow: Option<[Cow<'e, str>; 3]>,
}

impl ChunkBuilder {
    /// An empty chunk. `received_us` is the server's clock, µs since the epoch.
    pub fn new(chunk_id: Uuid, trace_id: Uuid, tenant: &str, received_us: i64, origin: Origin) -> Self {
        let header = Header {
            version: HEADER_VERSION,
            chunk_id: chunk_id.as_bytes().to_vec(),
            trace_id: trace_id.as_bytes().to_vec(),
            tenant: tenant.to_owned(),
            received_us,
            codec: Codec::None.into(),
            encoding: Encoding::JsonArray.into(),
            origin: origin.into(),
            ..Header::default()
        };
        Self { header, index: Index::default(), raw: Vec::new() }
    }

    /// The header so far; marks, flow and ids are the caller's to fill in.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// Events so far.
    pub fn event_count(&self) -> usize {
        self.header.event_count as usize
    }

    /// Bytes of events so far, not compressed.
    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Checks an event, indexes it and keeps its JSON as it is.
    pub fn push_event(&mut self, raw: &str) -> Result<(), Rejected> {
        let event = Event::parse(raw).map_err(|error| Rejected::Shape(brief(error)))?;
        self.index(&event)?;
        self.raw.push(if self.raw.is_empty() { b'[' } else { b',' });
        self.raw.extend_from_slice(raw.as_bytes());
        Ok(())
    }

    /// Checks and indexes all events of a JSON array without keeping it: the caller has it. When some are refused, the builder
    /// keeps the good ones itself, as after [`ChunkBuilder::push_event`]. The refused come back as (index, reason).
    pub fn push_array(&mut self, array: &str, max_events: usize) -> Result<Vec<(usize, Rejected)>, BuildError> {
        debug_assert_eq!(self.header.event_count, 0, "an array is a whole chunk");
        // Nearly all batches are good throughout: one pass, nothing copied.
        if self.index_array(array, max_events).is_some() {
            return Ok(Vec::new());
        }
        self.forget();
        let mut rejected = Vec::new();
        let mut index = 0;
        let read = for_each_element(array, |event| {
            if index == max_events {
                return ControlFlow::Break(());
            }
            if let Err(reason) = self.push_event(event.get()) {
                rejected.push((index, reason));
            }
            index += 1;
            ControlFlow::Continue(())
        });
        match read.map_err(BuildError::NotAnArray)? {
            ControlFlow::Continue(()) => Ok(rejected),
            ControlFlow::Break(()) => Err(BuildError::TooManyEvents { max: max_events }),
        }
    }

    /// Makes the chunk of what was pushed, compressing it.
    pub fn build(mut self, codec: codec::Codec, level: i32) -> Result<Chunk, BuildError> {
        let mut raw = std::mem::take(&mut self.raw);
        if raw.is_empty() {
            return Ok(self.finish(Bytes::new(), codec::Codec::None, 0));
        }
        raw.push(b']');
        let payload = codec.compress(&raw, level)?;
        Ok(self.finish(payload.into(), codec, raw.len()))
    }

    /// Makes the chunk around the client's own bytes, after [`ChunkBuilder::push_array`] refused nothing.
    pub fn build_around(self, payload: Bytes, codec: codec::Codec, raw_size: usize) -> Chunk {
        debug_assert!(self.raw.is_empty(), "some events were refused: the payload holds them still");
        self.finish(payload, codec, raw_size)
    }

    fn finish(mut self, payload: Bytes, codec: codec::Codec, raw_size: usize) -> Chunk {
        self.header.codec = Codec::from(codec).into();
        self.header.raw_size = u32::try_from(raw_size).unwrap_or(u32::MAX);
        (self.header.actors, self.header.edges) = self.index.finish();
        Chunk { header: self.header, payload }
    }

    /// Indexes all events of an array; `None` as soon as one is not good, or there are too many.
    fn index_array(&mut self, array: &str, max_events: usize) -> Option<()> {
        let mut events = EventArray::new(array);
        while let Some(event) = events.next_event().ok()? {
            if self.event_count() == max_events {
                return None;
            }
            self.index(&event).ok()?;
        }
        Some(())
    }

    /// Forgets the events that were indexed.
    fn forget(&mut self) {
        let header = &mut self.header;
        (header.event_count, header.event_types, header.failures) = (0, 0, 0);
        (header.first_event_us, header.last_event_us, header.first_error) = (None, None, None);
        header.needs_v1_rewrite = false;
        self.index = Index::default();
    }

    fn index(&mut self, event: &Event<'_>) -> Result<(), Rejected> {
        let names = check(event)?;
        let kind = EventKind::from(&event.event_type);
        let at_us = event.timestamp.timestamp_micros();
        let header = &mut self.header;
        header.event_count += 1;
        header.event_types |= KindSet::from_iter([kind]).0;
        header.first_event_us = Some(header.first_event_us.map_or(at_us, |first| first.min(at_us)));
        header.last_event_us = Some(header.last_event_us.map_or(at_us, |last| last.max(at_us)));
        header.needs_v1_rewrite |= event.needs_v1_rewrite();
        let failed = kind == EventKind::ActorFailed;
        if failed {
            header.failures += 1;
            let message = sanitize_error(event.data.error.as_deref().unwrap_or_default());
            let mark = ErrorMark { at_us, message };
            if header.first_error.as_ref().is_none_or(|first| mark < *first) {
                header.first_error = Some(mark);
            }
        }

        let bytes = measured_bytes(event).unwrap_or(0);
        // A message is told by `MessageSent` and again by `DataFlow`: its bytes are the edge's there, not the actor's.
        let actor_bytes = if kind == EventKind::DataFlow { 0 } else { bytes };
        let time_ns = measured_time_ns(event);
        let left_out = |bytes| {
            let beside = |rate| LeftOut::beside(rate, bytes, time_ns.unwrap_or(0));
            event.sample_rate().map(beside)
        };
        let actor = self.index.actor(&names.actor);
        actor.events += 1;
        actor.failures += u64::from(failed);
        actor.event_types |= 1 << kind as u8;
        actor.bytes = actor.bytes.saturating_add(actor_bytes);
        LeftOut::merge_into(&mut actor.left_out, left_out(actor_bytes).as_ref());
        if let Some(time_ns) = time_ns {
            actor.time.get_or_insert_default().add(time_ns);
        }
        if let Some([from_port, to_actor, to_port]) = &names.flow {
            let edge = self.index.edge(Edge { from_actor: &names.actor, from_port, to_actor, to_port });
            edge.count += 1;
            edge.bytes = edge.bytes.saturating_add(bytes);
            LeftOut::merge_into(&mut edge.left_out, left_out(bytes).as_ref());
            if let Some(time_ns) = time_ns {
                edge.time.get_or_insert_default().add(time_ns);
            }
        }
        Ok(())
    }
}

fn check<'e>(event: &'e Event<'_>) -> Result<Names<'e>, Rejected> {
    fn name<'e>(field: &'static str, name: &'e str) -> Result<Cow<'e, str>, Rejected> {
        let sane = sanitize_name(name);
        // Sanitising can make a name longer; one that is short enough after it is short enough.
        if sane.len() > MAX_NAME_BYTES { Err(Rejected::Name { field, bytes: name.len() }) } else { Ok(sane) }
    }
    let actor = name("actor_id", &event.actor_id)?;
    let port = name("port", event.data.port.as_deref().unwrap_or_default())?;
    let flow = match &event.event_type {
        EventType::DataFlow { to_actor, to_port } => {
            Some([port, name("to_actor", to_actor)?, name("to_port", to_port)?])
        }
        _ => None,
    };
    Ok(Names { actor, flow })
}

/// `reflow_network` passes the size of an enum and, as type, its discriminant: that is not a measurement.
fn measured_bytes(event: &Event<'_>) -> Option<u64> {
    let message = event.data.message.as_ref()?;
    if message.message_type.starts_with("Discriminant(") { None } else { message.size_bytes }
}

/// Five zeros are what a program sends that measured nothing.
fn measured_time_ns(event: &Event<'_>) -> Option<u64> {
    event.data.performance_metrics.filter(|metrics| !metrics.all_zero())?.execution_time_ns
}

impl From<&EventType<'_>> for EventKind {
    fn from(event_type: &EventType<'_>) -> Self {
        match event_type {
            EventType::ActorCreated => Self::ActorCreated,
            EventType::ActorStarted => Self::ActorStarted,
            EventType::ActorCompleted => Self::ActorCompleted,
            EventType::ActorFailed => Self::ActorFailed,
            EventType::MessageSent => Self::MessageSent,
            EventType::MessageReceived => Self::MessageReceived,
            EventType::StateChanged => Self::StateChanged,
            EventType::PortConnected => Self::PortConnected,
            EventType::PortDisconnected => Self::PortDisconnected,
            EventType::DataFlow { .. } => Self::DataFlow,
            EventType::NetworkEvent => Self::NetworkEvent,
        }
    }
}

impl From<codec::Codec> for Codec {
    fn from(codec: codec::Codec) -> Self {
        match codec {
            codec::Codec::None => Self::None,
            codec::Codec::Zstd => Self::Zstd,
            codec::Codec::Gzip => Self::Gzip,
            codec::Codec::Lz4 => Self::Lz4,
            codec::Codec::Brotli => Self::Brotli,
        }
    }
}

impl From<Codec> for codec::Codec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Zstd => Self::Zstd,
            Codec::Gzip => Self::Gzip,
            Codec::Lz4 => Self::Lz4,
            Codec::Brotli => Self::Brotli,
        }
    }
}
