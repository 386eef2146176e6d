//! Requests in JSON: both generations of v1, what newer Reflow clients add to it, and v2.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// v1: `TracingRequest::RecordEvent`.
#[must_use]
pub fn record_event(trace_id: Uuid, event: &Value) -> Value {
    json!({"RecordEvent": {"trace_id": trace_id, "event": event}})
}

/// v1: `TracingRequest::StartTrace`, which has no trace id.
#[must_use]
pub fn start_trace(flow_id: &str) -> Value {
    json!({"StartTrace": {"flow_id": flow_id, "version": version(1, 0, 0)}})
}

/// Newer v1 clients: `StartTrace` with an id of the client's.
#[must_use]
pub fn start_trace_with_id(trace_id: Uuid, flow_id: &str) -> Value {
    json!({"StartTrace": {"trace_id": trace_id, "flow_id": flow_id, "version": version(1, 0, 0)}})
}

/// A `StartTrace` with a version.
#[must_use]
pub fn start_trace_versioned(flow_id: &str, version: &Value) -> Value {
    json!({"StartTrace": {"flow_id": flow_id, "version": version}})
}

/// Newer v1 clients: `EndTrace`.
#[must_use]
pub fn end_trace(trace_id: Uuid, status: &Value) -> Value {
    json!({"EndTrace": {"trace_id": trace_id, "status": status}})
}

/// v1: `GetTrace`.
#[must_use]
pub fn get_trace(trace_id: Uuid) -> Value {
    json!({"GetTrace": {"trace_id": trace_id}})
}

/// v1: `QueryTraces`; see [`Query`].
#[must_use]
pub fn query_traces(query: &Query) -> Value {
    json!({"QueryTraces": {"query": query.to_json()}})
}

/// v1: `GetFlowVersions`.
#[must_use]
pub fn get_flow_versions(flow_id: &str) -> Value {
    json!({"GetFlowVersions": {"flow_id": flow_id}})
}

/// v1: `Ping`.
#[must_use]
pub fn ping() -> Value {
    json!("Ping")
}

/// v1: `TracingRequest::Subscribe`. `filters` is an object; what it does not name is null.
#[must_use]
pub fn subscribe(filters: &Value) -> Value {
    json!({"Subscribe": {"filters": all_filters(filters)}})
}

/// v1: `TracingRequest::Unsubscribe`.
#[must_use]
pub fn unsubscribe() -> Value {
    json!("Unsubscribe")
}

/// The older v1: `TraceMessage::Subscribe`.
#[must_use]
pub fn subscribe_older(filter: &Value) -> Value {
    json!({"Subscribe": {"filter": all_filters(filter)}})
}

/// The older v1: `TraceMessage::StoreTrace`.
#[must_use]
pub fn store_trace(trace: &Value) -> Value {
    json!({"StoreTrace": {"trace": trace}})
}

/// The older v1: `TraceMessage::GetMetrics`.
#[must_use]
pub fn get_metrics() -> Value {
    json!("GetMetrics")
}

/// A `FlowTrace`, as the older generation stores it.
#[must_use]
pub fn flow_trace(trace_id: Uuid, flow_id: &str, events: &[Value]) -> Value {
    json!({
        "trace_id": trace_id,
        "flow_id": flow_id,
        "execution_id": Uuid::new_v4(),
        "version": version(1, 0, 0),
        "start_time": events.first().map_or_else(|| json!(Utc::now()), |event| event["timestamp"].clone()),
        "end_time": events.last().map(|event| event["timestamp"].clone()),
        "status": "Completed",
        "events": events,
        "metadata": {
            "user_id": null,
            "session_id": null,
            "environment": "test",
            "hostname": "localhost",
            "process_id": 1,
            "thread_id": "main",
            "tags": {},
        },
    })
}

/// A `FlowVersion`.
#[must_use]
pub fn version(major: u32, minor: u32, patch: u32) -> Value {
    json!({"major": major, "minor": minor, "patch": patch, "git_hash": null, "timestamp": Utc::now()})
}

/// A v2 batch: one trace, one chunk.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Also the chunk's id: sending it again is harmless.
    pub batch_id: Uuid,
    /// The trace that all events belong to.
    pub trace_id: Uuid,
    /// What the program calls itself.
    pub flow_id: Option<String>,
    /// Who sends.
    pub client_id: Uuid,
    /// Counts the sender's events: the first of this batch has this number.
    pub sequence: u64,
    /// How many events the sender had to drop before this batch.
    pub dropped: u64,
    /// The events.
    pub events: Vec<Value>,
}

impl Batch {
    /// A first batch of a new trace.
    #[must_use]
    pub fn new(flow_id: &str, events: Vec<Value>) -> Self {
        Self {
            batch_id: Uuid::now_v7(),
            trace_id: Uuid::now_v7(),
            flow_id: Some(flow_id.to_owned()),
            client_id: Uuid::new_v4(),
            sequence: 0,
            dropped: 0,
            events,
        }
    }

    /// The sender's next batch in the same trace.
    #[must_use]
    pub fn next(&self, events: Vec<Value>) -> Self {
        let sequence = self.sequence + self.events.len() as u64;
        Self { batch_id: Uuid::now_v7(), sequence, events, ..self.clone() }
    }

    /// The `RecordBatch` request.
    #[must_use]
    pub fn request(&self) -> Value {
        json!({"RecordBatch": {
            "batch_id": self.batch_id,
            "trace_id": self.trace_id,
            "flow_id": self.flow_id,
            "client_id": self.client_id,
            "sequence": self.sequence,
            "dropped": self.dropped,
            "events": self.events,
        }})
    }

    /// The same batch as a binary frame, its events compressed with zstd: magic, length of the header, header in JSON,
    /// payload.
    ///
    /// # Panics
    /// Never: a list of values is JSON, and zstd compresses whatever is in memory.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let array = Value::Array(self.events.clone()).to_string();
        let payload = zstd::encode_all(array.as_bytes(), 1).expect("zstd compresses whatever is in memory");
        let header = json!({
            "batch_id": self.batch_id,
            "trace_id": self.trace_id,
            "flow_id": self.flow_id,
            "client_id": self.client_id,
            "sequence": self.sequence,
            "dropped": self.dropped,
            "codec": "zstd",
            "raw_size": array.len(),
        })
        .to_string();
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes();
        [b"RFB2".as_slice(), &length, header.as_bytes(), &payload].concat()
    }
}

/// A `TraceQuery`; what is not set is null.
#[derive(Debug, Clone, Default)]
pub struct Query {
    fields: Map<String, Value>,
}

impl Query {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The traces of one flow id.
    #[must_use]
    pub fn flow(self, flow_id: &str) -> Self {
        self.set("flow_id", json!(flow_id))
    }

    /// The traces of one execution.
    #[must_use]
    pub fn execution(self, execution_id: Uuid) -> Self {
        self.set("execution_id", json!(execution_id))
    }

    /// The traces within a time.
    #[must_use]
    pub fn between(self, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        self.set("time_range", json!([from, to]))
    }

    /// The traces of one status, `"Running"` or `{"Failed": {"error": ""}}`.
    #[must_use]
    pub fn status(self, status: Value) -> Self {
        self.set("status", status)
    }

    /// The traces that an actor took part in.
    #[must_use]
    pub fn actor(self, actor: &str) -> Self {
        self.set("actor_filter", json!(actor))
    }

    /// At most so many.
    #[must_use]
    pub fn limit(self, limit: u64) -> Self {
        self.set("limit", json!(limit))
    }

    /// Without the first so many.
    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        self.set("offset", json!(offset))
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.fields.insert(key.to_owned(), value);
        self
    }

    fn to_json(&self) -> Value {
        let names = ["flow_id", "execution_id", "time_range", "status", "actor_filter", "limit", "offset"];
        with_nulls(&self.fields, &names)
    }
}

fn all_filters(filters: &Value) -> Value {
    let given = filters.as_object().cloned().unwrap_or_default();
    with_nulls(&given, &["flow_ids", "actor_ids", "event_types", "status_filter"])
}

/// The published types have no defaults: a field that is not there is an error to them, null is none.
fn with_nulls(given: &Map<String, Value>, names: &[&str]) -> Value {
    let mut whole: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    whole.extend(given.clone());
    Value::Object(whole)
}
