//! Any answer. In v1 only the variants and fields of 0.2.1 are used; what is newer is left out unless it was asked for.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::sampling::SamplingRule;

/// What a session may do, announced in the handshake's answer ([`crate::LIMITS_HEADER`]) and as first frame of a v2 session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest frame, bytes.
    pub max_frame_bytes: usize,
    /// Largest decompressed frame, bytes.
    pub max_decompressed_bytes: usize,
    /// Most events a batch.
    pub max_batch_events: usize,
    /// Largest compressed payload of a batch, bytes.
    pub max_chunk_bytes: usize,
    /// Most batches that may wait for their answer.
    pub max_chunks_in_flight: usize,
    /// Most subscriptions a session.
    pub max_subscriptions: usize,
}

/// What a session may do by default, where nobody has set anything else.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            max_decompressed_bytes: 64 << 20,
            max_batch_events: 10_000,
            max_chunk_bytes: 900 << 10,
            max_chunks_in_flight: 32,
            max_subscriptions: 16,
        }
    }
}

/// Kind of a refusal. The first six are those of 0.2.1. What a client does about each is in `ERRORS.md` beside this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// There is no such thing.
    NotFound,
    /// The request is wrong.
    InvalidRequest,
    /// The store failed.
    StorageError,
    /// The frame cannot be read.
    SerializationError,
    /// Not allowed.
    Unauthorized,
    /// The server failed.
    InternalError,
    /// v2: over a limit, which the message names.
    LimitExceeded,
    /// v2: this service does not do that.
    Unsupported,
    /// v2: something behind the server is away.
    Unavailable,
    /// v2: took too long.
    Timeout,
}

impl Code {
    /// The nearest of the six that a 0.2.1 reader knows.
    pub fn for_v1(self) -> Self {
        match self {
            Self::LimitExceeded | Self::Unsupported => Self::InvalidRequest,
            Self::Unavailable => Self::StorageError,
            Self::Timeout => Self::InternalError,
            known => known,
        }
    }
}

/// An event of a batch that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedEvent {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// v2, first frame.
    Welcome {
        /// What the session may do.
        limits: Limits,
    },
    /// v2, unasked, after `Welcome`, where the server is configured so: what to leave out of what is recorded from now on.
    Sampling {
        /// Instead of any that were sent before; the client's own come first.
        rules: Vec<SamplingRule>,
    },
    /// v2, unasked, to a session that has recorded: send [`super::ClientReport`]. A client that has none need not answer.
    ReportMetrics,
    /// To `StartTrace`.
    TraceStarted {
        /// The trace.
        trace_id: Uuid,
        /// Echo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Box<RawValue>>,
    },
    /// To `RecordEvent`, `EndTrace`, `Subscribe` (v1) and `Unsubscribe`.
    EventRecorded {
        /// Whether it was.
        success: bool,
        /// Why not.
        error: Option<String>,
        /// v2: the kind of a refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// v2: whether trying again may help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retryable: Option<bool>,
        /// Echo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Box<RawValue>>,
    },
    /// To `RecordBatch`.
    BatchRecorded {
        /// The batch.
        batch_id: Uuid,
        /// Events taken.
        accepted: usize,
        /// Every event refused, one by one; why, of the first.
        rejected: Vec<RejectedEvent>,
        /// False with the memory backend.
        durable: bool,
    },
    /// To a `RecordBatch` whose chunk would be too large: split it.
    BatchTooLarge {
        /// The batch.
        batch_id: Uuid,
        /// Largest compressed payload, bytes.
        max: usize,
    },
    /// To `GetFlowVersions`.
    FlowVersions {
        /// Newest first.
        versions: Vec<crate::FlowVersion>,
        /// Echo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Box<RawValue>>,
    },
    /// To `Ping`.
    Pong,
    /// v2, to `Subscribe`.
    Subscribed {
        /// The subscription.
        subscription_id: String,
    },
    /// An event, to a subscriber.
    EventNotification {
        /// The trace.
        trace_id: Uuid,
        /// The event.
        event: Box<RawValue>,
        /// v2: which subscription.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subscription_id: Option<String>,
    },
    /// v2: a subscriber was too slow.
    Lagged {
        /// Which subscription.
        subscription_id: String,
        /// How many events were missed; null when nobody knows.
        missed: Option<u64>,
    },
    /// Older generation, to `StoreTrace`.
    TraceStored {
        /// The trace.
        trace_id: Uuid,
    },
    /// Older generation, to `GetMetrics`.
    Metrics {
        /// The figures.
        data: serde_json::Value,
    },
    /// A refusal.
    Error {
        /// What was wrong and what to do.
        message: String,
        /// Its kind; the older generation has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// v2: whether trying again may help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retryable: Option<bool>,
        /// v2: the batch it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch_id: Option<Uuid>,
        /// Echo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Box<RawValue>>,
    },
}
