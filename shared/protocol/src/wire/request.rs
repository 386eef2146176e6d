//! Any request of any generation: v1 (`TracingRequest`, `TraceMessage`), what newer clients add, and v2.
//!
//! A frame is one externally tagged value: a bare string (`"Ping"`) or an object with a single key. Events stay raw JSON here:
//! whoever builds the chunk parses them one by one, so that a bad one never costs the others.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event::Str;
use super::report::ClientReport;
use super::request_error::{MAX_METADATA_BYTES, MAX_SUBSCRIBE_BYTES, RequestError};
use crate::{ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, SubscriptionFilters, TraceId, TraceQuery};

/// A request.
#[derive(Debug)]
pub enum Request<'a> {
    /// Begin a trace.
    StartTrace(StartTrace),
    /// Record one event.
    RecordEvent {
        /// The trace it belongs to, as sent.
        trace_id: Uuid,
        /// The event, not parsed.
        event: &'a RawValue,
    },
    /// Record a batch of one trace (v2).
    RecordBatch(RecordBatch<'a>),
    /// End a trace.
    EndTrace {
        /// The trace.
        trace_id: Uuid,
        /// How it ended.
        status: ExecutionStatus,
        /// Echoed.
        request_id: Option<Box<RawValue>>,
    },
    /// Get a trace with its events.
    GetTrace {
        /// The trace.
        trace_id: Uuid,
        /// Echoed.
        request_id: Option<Box<RawValue>>,
    },
    /// Find traces.
    QueryTraces {
        /// Which.
        query: TraceQuery,
        /// v2: go on after this page's end.
        after: Option<String>,
        /// Echoed.
        request_id: Option<Box<RawValue>>,
    },
    /// Versions of a flow.
    GetFlowVersions {
        /// The flow.
        flow_id: String,
        /// Echoed.
        request_id: Option<Box<RawValue>>,
    },
    /// Are you there?
    Ping,
    /// Send events as they happen.
    Subscribe(SubscribeRequest),
    /// No more events (of one subscription, or of all).
    Unsubscribe {
        /// v2: which.
        subscription_id: Option<String>,
    },
    /// v2: what the client has done since its last report; not answered.
    ClientMetrics(Box<ClientReport>),
    /// Older generation: store a whole trace.
    StoreTrace {
        /// The trace's head: everything but the events.
        trace: Box<FlowTrace>,
        /// The JSON array of its events, not parsed: however small each is, they take no more room than their text.
        events: &'a RawValue,
    },
    /// Older generation: the server's figures.
    GetMetrics,
}

/// Begin a trace.
#[derive(Debug, Deserialize)]
pub struct StartTrace {
    /// Newer clients own the id.
    pub trace_id: Option<Uuid>,
    /// The flow.
    pub flow_id: String,
    /// See [`super::BatchHeader::flow_name`].
    pub flow_name: Option<String>,
    /// Its version.
    pub version: Option<FlowVersion>,
    /// The execution.
    pub execution_id: Option<Uuid>,
    /// Echoed.
    pub request_id: Option<Box<RawValue>>,
}

/// A v2 batch as a text frame.
#[derive(Debug, Deserialize)]
pub struct RecordBatch<'a> {
    /// Identifies the batch.
    pub batch_id: Uuid,
    /// The ONE trace its events belong to.
    pub trace_id: Uuid,
    /// The flow.
    pub flow_id: Option<String>,
    /// See [`super::BatchHeader::flow_name`].
    pub flow_name: Option<String>,
    /// The client's id for itself.
    pub client_id: String,
    /// See [`super::BatchHeader::sequence`].
    pub sequence: u64,
    /// See [`super::BatchHeader::dropped`].
    pub dropped: u64,
    /// The JSON array of events, not parsed.
    #[serde(borrow)]
    pub events: &'a RawValue,
}

/// Send events as they happen.
#[derive(Debug)]
pub struct SubscribeRequest {
    /// Which.
    pub filters: SubscriptionFilters,
    /// v2: the client's name for it; several a session.
    pub subscription_id: Option<String>,
    /// v2: first what the store has that was received at this time or later, µs.
    pub since_us: Option<i64>,
    /// The field was called `filter`: only the older generation (`TraceMessage`) says so.
    pub older: bool,
}

impl<'a> Request<'a> {
    /// Reads a frame.
    pub fn parse(frame: &'a str) -> Result<Self, RequestError> {
        // The frame that real programs send by the million, read without a look at its tag first.
        if let Ok(Hot { record }) = serde_json::from_str(frame) {
            return Ok(Self::RecordEvent { trace_id: record.trace_id, event: record.event });
        }
        let tagged: Tagged<'a> = serde_json::from_str(frame).map_err(RequestError::Shape)?;
        let body = tagged.body.map_or("{}", RawValue::get);
        match &*tagged.name {
            "StartTrace" => fields("StartTrace", body).map(Self::StartTrace),
            "RecordEvent" => {
                let record: RecordEvent<'a> = fields("RecordEvent", body)?;
                Ok(Self::RecordEvent { trace_id: record.trace_id, event: record.event })
            }
            "RecordBatch" => fields("RecordBatch", body).map(Self::RecordBatch),
            "EndTrace" => {
                let EndTrace { trace_id, status, request_id } = fields("EndTrace", body)?;
                Ok(Self::EndTrace { trace_id, status, request_id })
            }
            "GetTrace" => {
                let GetTrace { trace_id, request_id } = fields("GetTrace", body)?;
                Ok(Self::GetTrace { trace_id, request_id })
            }
            "QueryTraces" => {
                let QueryTraces { query, after, request_id } = fields("QueryTraces", body)?;
                Ok(Self::QueryTraces { query, after, request_id })
            }
            "GetFlowVersions" => {
                let GetFlowVersions { flow_id, request_id } = fields("GetFlowVersions", body)?;
                Ok(Self::GetFlowVersions { flow_id, request_id })
            }
            "Ping" => Ok(Self::Ping),
            "Subscribe" => subscribe(body).map(Self::Subscribe),
            "Unsubscribe" => {
                let body: Option<Unsubscribe> = fields("Unsubscribe", body)?;
                Ok(Self::Unsubscribe { subscription_id: body.and_then(|body| body.subscription_id) })
            }
            "ClientMetrics" => fields("ClientMetrics", body).map(|report| Self::ClientMetrics(Box::new(report))),
            "StoreTrace" => store_trace(body),
            "GetMetrics" => Ok(Self::GetMetrics),
            other => Err(RequestError::Unknown { name: other.chars().take(64).collect() }),
        }
    }

    /// The `request_id` of a frame that [`Self::parse`] refuses, where one can be found, so that its sender knows which it was.
    pub fn request_id(frame: &str) -> Option<Box<RawValue>> {
        let tagged: Tagged<'_> = serde_json::from_str(frame).ok()?;
        let Identified { request_id } = serde_json::from_str(tagged.body?.get()).ok()?;
        request_id
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hot<'a> {
    #[serde(borrow, rename = "RecordEvent")]
    record: RecordEvent<'a>,
}

#[derive(Deserialize)]
struct RecordEvent<'a> {
    trace_id: Uuid,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Identified {
    request_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct EndTrace {
    trace_id: Uuid,
    status: ExecutionStatus,
    request_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct GetTrace {
    trace_id: Uuid,
    request_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct QueryTraces {
    query: TraceQuery,
    after: Option<String>,
    request_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct GetFlowVersions {
    flow_id: String,
    request_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Unsubscribe {
    subscription_id: Option<String>,
}

#[derive(Deserialize)]
struct Subscribe {
    filters: Option<SubscriptionFilters>,
    filter: Option<SubscriptionFilters>,
    subscription_id: Option<String>,
    since: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct StoreTrace<'a> {
    #[serde(borrow)]
    trace: &'a RawValue,
}

/// A [`FlowTrace`] whose parts of any length are not read yet.
#[derive(Deserialize)]
struct Head<'a> {
    trace_id: TraceId,
    flow_id: FlowId,
    execution_id: ExecutionId,
    version: FlowVersion,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    status: ExecutionStatus,
    #[serde(borrow)]
    events: &'a RawValue,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

fn fields<'a, T: Deserialize<'a>>(request: &'static str, body: &'a str) -> Result<T, RequestError> {
    serde_json::from_str(body).map_err(|reason| RequestError::Fields { request, reason })
}

/// Too long a one is not read: of names of one letter, filters are many times as large as their text.
fn subscribe(body: &str) -> Result<SubscribeRequest, RequestError> {
    if body.len() > MAX_SUBSCRIBE_BYTES {
        return Err(RequestError::Subscribe { bytes: body.len() });
    }
    let Subscribe { filters, filter, subscription_id, since } = fields("Subscribe", body)?;
    let older = filters.is_none() && filter.is_some();
    let Some(filters) = filters.or(filter) else {
        let reason = serde_json::Error::custom("missing field `filters`");
        return Err(RequestError::Fields { request: "Subscribe", reason });
    };
    let since_us = since.map(|since| since.timestamp_micros());
    Ok(SubscribeRequest { filters, subscription_id, since_us, older })
}

/// One bad event cannot cost the trace: events are read one by one, by whoever builds the chunks.
fn store_trace(body: &str) -> Result<Request<'_>, RequestError> {
    const NAME: &str = "StoreTrace";
    let StoreTrace { trace } = fields(NAME, body)?;
    let head: Head<'_> = fields(NAME, trace.get())?;
    if !head.events.get().starts_with('[') {
        let reason = serde_json::Error::custom("events are not an array");
        return Err(RequestError::Fields { request: NAME, reason });
    }
    let metadata = head.metadata.get();
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(RequestError::Metadata { bytes: metadata.len() });
    }
    let trace = FlowTrace {
        trace_id: head.trace_id,
        flow_id: head.flow_id,
        execution_id: head.execution_id,
        version: head.version,
        start_time: head.start_time,
        end_time: head.end_time,
        status: head.status,
        events: Vec::new(),
        metadata: fields(NAME, metadata)?,
    };
    Ok(Request::StoreTrace { trace: Box::new(trace), events: head.events })
}

/// An externally tagged value whose body is not read yet.
struct Tagged<'a> {
    name: Cow<'a, str>,
    body: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Tagged<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tag;
        impl<'de> Visitor<'de> for Tag {
            type Value = Tagged<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object with one key")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Tagged { name: Cow::Borrowed(name), body: None })
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Tagged { name: Cow::Owned(name.to_owned()), body: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some(Str(name)) = map.next_key()? else {
                    return Err(A::Error::custom("an object without a key"));
                };
                let body = Some(map.next_value()?);
                if map.next_key::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("an object with more than one key"));
                }
                Ok(Tagged { name, body })
            }
        }
        deserializer.deserialize_any(Tag)
    }
}

impl Serialize for RecordBatch<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("RecordBatch", 8)?;
        out.serialize_field("batch_id", &self.batch_id)?;
        out.serialize_field("trace_id", &self.trace_id)?;
        out.serialize_field("flow_id", &self.flow_id)?;
        out.serialize_field("flow_name", &self.flow_name)?;
        out.serialize_field("client_id", &self.client_id)?;
        out.serialize_field("sequence", &self.sequence)?;
        out.serialize_field("dropped", &self.dropped)?;
        out.serialize_field("events", &self.events)?;
        out.end()
    }
}
