//! The chunk header: everything that routing, filtering, counting and indexing need.
//!
//! Guarantee: whoever holds a header can merge summaries and rollups without opening the payload. It is protobuf, so a
//! reader of the version before skips what it does not know. Names in it (actors, ports, flows, errors) hold no NUL and
//! are bounded, because PostgreSQL can store neither NUL nor an index key of any length; the payload keeps them as sent.

use prost::Message;
use uuid::Uuid;

use crate::histogram::TimeStats;
use crate::left_out::LeftOut;

/// The header version this build writes. Readers accept this and the one before.
pub const HEADER_VERSION: u32 = 1;

/// Who built a chunk: decides whether its events can hold the same event twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Origin {
    /// Gathered by the server from single v1 frames: a program may have sent an event twice.
    V1Session = 0,
    /// One `RecordBatch` of a v2 client: `chunk_id` is its `batch_id`.
    V2Batch = 1,
    /// One slice of a `StoreTrace`: `chunk_id` is a hash of trace and slice.
    StoreTrace = 2,
    /// Merged by the background compaction.
    Compaction = 3,
}

/// How the payload's bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Codec {
    /// Not compressed.
    None = 0,
    /// Zstandard frame.
    Zstd = 1,
    /// gzip member.
    Gzip = 2,
    /// LZ4 frame.
    Lz4 = 3,
    /// Brotli stream (has no magic number).
    Brotli = 4,
}

/// What the decompressed payload is. The tag leaves room for a columnar encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Encoding {
    /// A JSON array of events, as the client sent them.
    JsonArray = 0,
}

/// Status that an explicit `EndTrace` gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EndStatus {
    /// Ended well.
    Completed = 0,
    /// Cancelled by somebody.
    Cancelled = 1,
    /// Ended with an error.
    Failed = 2,
}

/// An error message and when it happened, in microseconds since the epoch (event time).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct ErrorMark {
    /// Event time, µs since the epoch.
    #[prost(sint64, tag = "1")]
    pub at_us: i64,
    /// The message, at most [`crate::MAX_ERROR_BYTES`] bytes.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// An explicit end of a trace.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EndMark {
    /// When the server received it, µs since the epoch.
    #[prost(sint64, tag = "1")]
    pub at_us: i64,
    /// Status given.
    #[prost(enumeration = "EndStatus", tag = "2")]
    pub status: i32,
    /// Error text of `Failed`, else empty.
    #[prost(string, tag = "3")]
    pub error: String,
}

impl EndMark {
    /// Which of two ends counts: the later; on a tie the graver status, then the greater text. A total order, so that merging
    /// gives the same result in any order.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.status, &self.error).cmp(&(other.at_us, other.status, &other.error))
    }
}

/// Version of a flow, as `StartTrace` gave it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Version {
    /// Semantic version, major.
    #[prost(uint32, tag = "1")]
    pub major: u32,
    /// Semantic version, minor.
    #[prost(uint32, tag = "2")]
    pub minor: u32,
    /// Semantic version, patch.
    #[prost(uint32, tag = "3")]
    pub patch: u32,
    /// Commit of the program, if told.
    #[prost(string, optional, tag = "4")]
    pub git_hash: Option<String>,
    /// When the version was made, µs since the epoch.
    #[prost(sint64, tag = "5")]
    pub timestamp_us: i64,
}

/// What a v2 client says of its own stream of events, so that a trace can say what is missing.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ClientMark {
    /// The client's id for itself, one a process.
    #[prost(string, tag = "1")]
    pub client_id: String,
    /// Events of this trace that the client had recorded before the first of this batch, dropped ones included.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// How many of the trace's events the client has dropped so far.
    #[prost(uint64, tag = "3")]
    pub dropped: u64,
    /// Events of this batch that the server refused, one by one.
    #[prost(uint32, tag = "4")]
    pub rejected: u32,
}

/// Counts of one actor in the chunk.
#[derive(Clone, PartialEq, Message)]
pub struct ActorStats {
    /// Actor id.
    #[prost(string, tag = "1")]
    pub actor: String,
    /// Events of any type with this `actor_id`.
    #[prost(uint64, tag = "2")]
    pub events: u64,
    /// `ActorFailed` among them.
    #[prost(uint64, tag = "3")]
    pub failures: u64,
    /// Sum of `size_bytes` of messages in them, where measured.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Execution times, where measured.
    #[prost(message, optional, tag = "5")]
    pub time: Option<TimeStats>,
    /// Bit mask of event types, bit = [`crate::EventKind`].
    #[prost(uint32, tag = "6")]
    pub event_types: u32,
    /// What sampling left out beside these events; none where nothing was sampled, and from builds that did not tell.
    #[prost(message, optional, tag = "7")]
    pub left_out: Option<LeftOut>,
}

/// Counts of one edge (a connection between two ports) in the chunk. Counted from `DataFlow` events alone.
#[derive(Clone, PartialEq, Message)]
pub struct EdgeStats {
    /// Sending actor.
    #[prost(string, tag = "1")]
    pub from_actor: String,
    /// Its out-port; empty when not told.
    #[prost(string, tag = "2")]
    pub from_port: String,
    /// Receiving actor.
    #[prost(string, tag = "3")]
    pub to_actor: String,
    /// Its in-port.
    #[prost(string, tag = "4")]
    pub to_port: String,
    /// Messages that flowed.
    #[prost(uint64, tag = "5")]
    pub count: u64,
    /// Sum of `size_bytes`, where measured.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Execution times, where measured.
    #[prost(message, optional, tag = "7")]
    pub time: Option<TimeStats>,
    /// What sampling left out beside these messages, as of an actor.
    #[prost(message, optional, tag = "8")]
    pub left_out: Option<LeftOut>,
}

/// The header of a chunk. Times are µs since the epoch; `received_us` is the server's clock, event times are the clients'.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// Header version, [`HEADER_VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// 16 bytes: the chunk's id.
    #[prost(bytes = "vec", tag = "2")]
    pub chunk_id: Vec<u8>,
    /// 16 bytes: the trace the events belong to.
    #[prost(bytes = "vec", tag = "3")]
    pub trace_id: Vec<u8>,
    /// 16 bytes each, one after the other: the ids as sent, where they differ from `trace_id`.
    #[prost(bytes = "vec", tag = "4")]
    pub sent_ids: Vec<u8>,
    /// Tenant, `[a-z0-9-]{1,32}`.
    #[prost(string, tag = "5")]
    pub tenant: String,
    /// What the program called itself, where known.
    #[prost(string, optional, tag = "6")]
    pub flow_id: Option<String>,
    /// Flow id without a generated tail, where known.
    #[prost(string, optional, tag = "7")]
    pub flow_name: Option<String>,
    /// 16 bytes where told.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub execution_id: Option<Vec<u8>>,
    /// Version of the flow where told.
    #[prost(message, optional, tag = "9")]
    pub flow_version: Option<Version>,
    /// When the server received the batch (first frame of a gather).
    #[prost(sint64, tag = "10")]
    pub received_us: i64,
    /// Least event time; none in a chunk without events.
    #[prost(sint64, optional, tag = "11")]
    pub first_event_us: Option<i64>,
    /// Greatest event time; none in a chunk without events.
    #[prost(sint64, optional, tag = "12")]
    pub last_event_us: Option<i64>,
    /// Events in the payload.
    #[prost(uint32, tag = "13")]
    pub event_count: u32,
    /// Bit mask of event types, bit = [`crate::EventKind`].
    #[prost(uint32, tag = "14")]
    pub event_types: u32,
    /// `ActorFailed` events in the payload.
    #[prost(uint32, tag = "15")]
    pub failures: u32,
    /// The earliest failure in the payload.
    #[prost(message, optional, tag = "16")]
    pub first_error: Option<ErrorMark>,
    /// Per actor, sorted by actor.
    #[prost(message, repeated, tag = "17")]
    pub actors: Vec<ActorStats>,
    /// Per edge, sorted.
    #[prost(message, repeated, tag = "18")]
    pub edges: Vec<EdgeStats>,
    /// Client accounting of a v2 batch.
    #[prost(message, optional, tag = "19")]
    pub client: Option<ClientMark>,
    /// The trace was started by a `StartTrace` received at this time.
    #[prost(sint64, optional, tag = "20")]
    pub started_us: Option<i64>,
    /// The trace was ended explicitly.
    #[prost(message, optional, tag = "21")]
    pub ended: Option<EndMark>,
    /// The peer closed the session that carried the trace, received at this time.
    #[prost(sint64, optional, tag = "22")]
    pub closed_us: Option<i64>,
    /// Codec of the payload.
    #[prost(enumeration = "Codec", tag = "23")]
    pub codec: i32,
    /// Encoding of the payload.
    #[prost(enumeration = "Encoding", tag = "24")]
    pub encoding: i32,
    /// Bytes of the payload when decompressed.
    #[prost(uint32, tag = "25")]
    pub raw_size: u32,
    /// Some event holds what a 0.2.1 reader cannot read (null or missing figures): it must be rewritten for one.
    #[prost(bool, tag = "26")]
    pub needs_v1_rewrite: bool,
    /// Who built the chunk.
    #[prost(enumeration = "Origin", tag = "27")]
    pub origin: i32,
    /// `TraceMetadata` as JSON, where told (`StoreTrace`).
    #[prost(string, optional, tag = "28")]
    pub metadata_json: Option<String>,
}

impl Header {
    /// The chunk's id.
    pub fn chunk_uuid(&self) -> Uuid {
        uuid_or_nil(&self.chunk_id)
    }

    /// The trace's id.
    pub fn trace_uuid(&self) -> Uuid {
        uuid_or_nil(&self.trace_id)
    }

    /// The execution's id, where told.
    pub fn execution_uuid(&self) -> Option<Uuid> {
        self.execution_id.as_deref().map(uuid_or_nil)
    }

    /// What sampling left out beside the chunk's events: every event is an actor's.
    pub fn left_out(&self) -> LeftOut {
        let mut sum = LeftOut::default();
        self.actors.iter().filter_map(|actor| actor.left_out.as_ref()).for_each(|left_out| sum.merge(left_out));
        sum
    }

    /// The trace ids as sent, where they differ from the trace's own.
    pub fn sent_uuids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.sent_ids.chunks_exact(16).map(uuid_or_nil)
    }
}

/// [`crate::Chunk::decode`] has checked the lengths; a header built by hand with a wrong length reads as nil.
fn uuid_or_nil(bytes: &[u8]) -> Uuid {
    Uuid::from_slice(bytes).unwrap_or_default()
}
