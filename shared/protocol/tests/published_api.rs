//! The public face of the published crate 0.2.1, written down as a program that uses all of it.
//!
//! Nothing there is `non_exhaustive`, so a new field, variant or bound would break programs. This file builds every public struct by
//! literal, matches every enum without `_`, calls every method with its types spelled out, and asserts every trait. It is built twice:
//! here against our crate, and by `tests/compat` against the published one. So it says nothing that the published crate does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reflow_tracing_protocol::client::{
    RetryConfig, TracingClient, TracingConfig, TracingError, TracingIntegration, global_tracing, init_global_tracing,
};
use reflow_tracing_protocol::{
    CausalityInfo, ErrorCode, EventId, ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, MessageSnapshot,
    PerformanceMetrics, StateDiff, StateDiffType, SubscriptionFilters, TraceEvent, TraceEventData, TraceEventType,
    TraceId, TraceMessage, TraceMetadata, TraceQuery, TraceResponse, TracingRequest, TracingResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

fn plain<T: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static>() {}
fn compared<T: PartialEq + Eq + Hash>() {}
fn shown<T: Display>() {}
fn made<T: Default>() {}
fn shared<T: Send + Sync + 'static>() {}
fn cloned<T: Clone>() {}
fn failed<T: Error + Debug + Display + Send + Sync + From<serde_json::Error> + 'static>() {}

#[test]
fn every_type_has_its_traits() {
    plain::<TraceId>();
    plain::<FlowId>();
    plain::<ExecutionId>();
    plain::<EventId>();
    plain::<FlowVersion>();
    plain::<TracingRequest>();
    plain::<TracingResponse>();
    plain::<ErrorCode>();
    plain::<SubscriptionFilters>();
    plain::<FlowTrace>();
    plain::<ExecutionStatus>();
    plain::<TraceEvent>();
    plain::<TraceEventType>();
    plain::<TraceEventData>();
    plain::<MessageSnapshot>();
    plain::<StateDiff>();
    plain::<StateDiffType>();
    plain::<PerformanceMetrics>();
    plain::<CausalityInfo>();
    plain::<TraceMetadata>();
    plain::<TraceQuery>();
    plain::<TraceMessage>();
    plain::<TraceResponse>();
    plain::<TracingConfig>();
    plain::<RetryConfig>();
    compared::<TraceId>();
    compared::<FlowId>();
    compared::<ExecutionId>();
    compared::<EventId>();
    compared::<ExecutionStatus>();
    compared::<TraceEventType>();
    shown::<TraceId>();
    shown::<FlowId>();
    shown::<ExecutionId>();
    shown::<EventId>();
    made::<TraceId>();
    made::<ExecutionId>();
    made::<EventId>();
    made::<PerformanceMetrics>();
    made::<TracingConfig>();
    shared::<TracingClient>();
    shared::<TracingIntegration>();
    cloned::<TracingIntegration>();
    failed::<TracingError>();
}

fn version() -> FlowVersion {
    FlowVersion { major: 1, minor: 2, patch: 3, git_hash: Some("abc".to_owned()), timestamp: Utc::now() }
}

fn event() -> TraceEvent {
    TraceEvent {
        event_id: EventId(Uuid::nil()),
        timestamp: Utc::now(),
        event_type: TraceEventType::DataFlow { to_actor: "b".to_owned(), to_port: "in".to_owned() },
        actor_id: "a".to_owned(),
        data: TraceEventData {
            port: Some("out".to_owned()),
            message: Some(MessageSnapshot {
                message_type: "String".to_owned(),
                size_bytes: 5_usize,
                checksum: String::new(),
                serialized_data: Vec::<u8>::new(),
            }),
            state_diff: Some(StateDiff {
                before: Some(vec![1_u8]),
                after: vec![2_u8],
                diff_type: StateDiffType::Incremental,
            }),
            error: None::<String>,
            performance_metrics: PerformanceMetrics {
                execution_time_ns: 1_u64,
                memory_usage_bytes: 2_usize,
                cpu_usage_percent: 3.0_f32,
                queue_depth: 4_usize,
                throughput_msgs_per_sec: 5.0_f64,
            },
            custom_attributes: HashMap::<String, serde_json::Value>::new(),
        },
        causality: CausalityInfo {
            parent_event_id: Some(EventId(Uuid::nil())),
            root_cause_event_id: EventId(Uuid::nil()),
            dependency_chain: vec![EventId(Uuid::nil())],
            span_id: "span".to_owned(),
        },
    }
}

fn trace() -> FlowTrace {
    FlowTrace {
        trace_id: TraceId(Uuid::nil()),
        flow_id: FlowId("flow".to_owned()),
        execution_id: ExecutionId(Uuid::nil()),
        version: version(),
        start_time: Utc::now(),
        end_time: None::<DateTime<Utc>>,
        status: ExecutionStatus::Failed { error: "no".to_owned() },
        events: vec![event()],
        metadata: TraceMetadata {
            user_id: None::<String>,
            session_id: None::<String>,
            environment: String::new(),
            hostname: String::new(),
            process_id: 1_u32,
            thread_id: String::new(),
            tags: HashMap::<String, String>::new(),
        },
    }
}

fn query() -> TraceQuery {
    TraceQuery {
        flow_id: Some(FlowId("flow".to_owned())),
        execution_id: None::<ExecutionId>,
        time_range: None::<(DateTime<Utc>, DateTime<Utc>)>,
        status: None::<ExecutionStatus>,
        actor_filter: None::<String>,
        limit: Some(1_usize),
        offset: None::<usize>,
    }
}

fn filters() -> SubscriptionFilters {
    SubscriptionFilters {
        flow_ids: None::<Vec<FlowId>>,
        actor_ids: None::<Vec<String>>,
        event_types: Some(vec![TraceEventType::NetworkEvent]),
        status_filter: None::<Vec<ExecutionStatus>>,
    }
}

/// A client that may not do anything: what is shown here is that its calls compile.
fn config() -> TracingConfig {
    TracingConfig {
        server_url: "ws://localhost:1".to_owned(),
        batch_size: 1_usize,
        batch_timeout: Duration::from_millis(100),
        enable_compression: true,
        retry_config: RetryConfig {
            max_retries: 5_usize,
            initial_delay: Duration::from_millis(1_000),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2.0_f64,
        },
        enabled: false,
    }
}

#[test]
fn defaults_are_those_that_were_published() {
    let default = TracingConfig { enabled: true, server_url: "ws://localhost:8080".to_owned(), ..config() };
    assert_eq!(format!("{:?}", TracingConfig::default()), format!("{default:?}"));
    let zero = PerformanceMetrics {
        execution_time_ns: 0,
        memory_usage_bytes: 0,
        cpu_usage_percent: 0.0,
        queue_depth: 0,
        throughput_msgs_per_sec: 0.0,
    };
    assert_eq!(format!("{:?}", PerformanceMetrics::default()), format!("{zero:?}"));
}

fn request_name(request: &TracingRequest) -> &'static str {
    match request {
        TracingRequest::StartTrace { flow_id: FlowId(_), version: FlowVersion { .. } } => "StartTrace",
        TracingRequest::RecordEvent { trace_id: TraceId(_), event: TraceEvent { .. } } => "RecordEvent",
        TracingRequest::GetTrace { trace_id: TraceId(_) } => "GetTrace",
        TracingRequest::QueryTraces { query: TraceQuery { .. } } => "QueryTraces",
        TracingRequest::GetFlowVersions { flow_id: FlowId(_) } => "GetFlowVersions",
        TracingRequest::Ping => "Ping",
        TracingRequest::Subscribe { filters: SubscriptionFilters { .. } } => "Subscribe",
        TracingRequest::Unsubscribe => "Unsubscribe",
    }
}

fn response_name(response: &TracingResponse) -> &'static str {
    match response {
        TracingResponse::TraceStarted { trace_id: TraceId(_) } => "TraceStarted",
        TracingResponse::EventRecorded { success: true | false, error: Some(_) | None } => "EventRecorded",
        TracingResponse::TraceData { trace: Some(_) | None } => "TraceData",
        TracingResponse::QueryResults { traces: _, total_count: _ } => "QueryResults",
        TracingResponse::FlowVersions { versions: _ } => "FlowVersions",
        TracingResponse::Pong => "Pong",
        TracingResponse::EventNotification { trace_id: TraceId(_), event: TraceEvent { .. } } => "EventNotification",
        TracingResponse::Error { message: _, code } => match code {
            ErrorCode::NotFound => "NotFound",
            ErrorCode::InvalidRequest => "InvalidRequest",
            ErrorCode::StorageError => "StorageError",
            ErrorCode::SerializationError => "SerializationError",
            ErrorCode::Unauthorized => "Unauthorized",
            ErrorCode::InternalError => "InternalError",
        },
    }
}

fn message_name(message: &TraceMessage) -> &'static str {
    match message {
        TraceMessage::StoreTrace { trace: FlowTrace { .. } } => "StoreTrace",
        TraceMessage::QueryTraces { query: TraceQuery { .. } } => "QueryTraces",
        TraceMessage::GetTrace { trace_id: TraceId(_) } => "GetTrace",
        TraceMessage::Subscribe { filter: SubscriptionFilters { .. } } => "Subscribe",
        TraceMessage::GetMetrics => "GetMetrics",
    }
}

fn older_response_name(response: &TraceResponse) -> &'static str {
    match response {
        TraceResponse::TraceStored { trace_id: TraceId(_) } => "TraceStored",
        TraceResponse::TracesFound { traces: _ } => "TracesFound",
        TraceResponse::TraceData { trace: FlowTrace { .. } } => "TraceData",
        TraceResponse::Error { message: _ } => "Error",
        TraceResponse::Metrics { data: _ } => "Metrics",
    }
}

fn status_name(status: &ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Pending => "Pending",
        ExecutionStatus::Running => "Running",
        ExecutionStatus::Completed => "Completed",
        ExecutionStatus::Failed { error: _ } => "Failed",
        ExecutionStatus::Cancelled => "Cancelled",
    }
}

fn event_name(event_type: &TraceEventType) -> &'static str {
    match event_type {
        TraceEventType::ActorCreated => "ActorCreated",
        TraceEventType::ActorStarted => "ActorStarted",
        TraceEventType::ActorCompleted => "ActorCompleted",
        TraceEventType::ActorFailed => "ActorFailed",
        TraceEventType::MessageSent => "MessageSent",
        TraceEventType::MessageReceived => "MessageReceived",
        TraceEventType::StateChanged => "StateChanged",
        TraceEventType::PortConnected => "PortConnected",
        TraceEventType::PortDisconnected => "PortDisconnected",
        TraceEventType::DataFlow { to_actor: _, to_port: _ } => "DataFlow",
        TraceEventType::NetworkEvent => "NetworkEvent",
    }
}

fn diff_name(diff: &StateDiffType) -> &'static str {
    match diff {
        StateDiffType::Full => "Full",
        StateDiffType::Incremental => "Incremental",
        StateDiffType::MemoryOnly => "MemoryOnly",
    }
}

fn error_text(error: &TracingError) -> String {
    match error {
        TracingError::ConnectionFailed(why) => format!("Connection failed: {why}"),
        TracingError::SerializationFailed(why) => {
            let why: &serde_json::Error = why;
            format!("Serialization failed: {why}")
        }
        TracingError::WebSocketError(why) => format!("WebSocket error: {why}"),
        TracingError::Disconnected => "Client is disconnected".to_owned(),
        TracingError::Timeout => "Timeout occurred".to_owned(),
    }
}

/// The tag under which a value is written: the name of its variant.
fn tag(value: &impl Serialize) -> String {
    match serde_json::to_value(value).unwrap() {
        serde_json::Value::String(tag) => tag,
        serde_json::Value::Object(fields) => fields.keys().next().unwrap().clone(),
        other => panic!("not tagged: {other}"),
    }
}

#[test]
fn every_variant_is_written_under_its_name() {
    let (trace_id, flow_id) = (TraceId::new(), FlowId::new("flow"));
    for request in [
        TracingRequest::StartTrace { flow_id: flow_id.clone(), version: version() },
        TracingRequest::RecordEvent { trace_id: trace_id.clone(), event: event() },
        TracingRequest::GetTrace { trace_id: trace_id.clone() },
        TracingRequest::QueryTraces { query: query() },
        TracingRequest::GetFlowVersions { flow_id },
        TracingRequest::Ping,
        TracingRequest::Subscribe { filters: filters() },
        TracingRequest::Unsubscribe,
    ] {
        assert_eq!(tag(&request), request_name(&request));
    }
    for response in [
        TracingResponse::TraceStarted { trace_id: trace_id.clone() },
        TracingResponse::EventRecorded { success: true, error: None },
        TracingResponse::TraceData { trace: Some(trace()) },
        TracingResponse::QueryResults { traces: vec![trace()], total_count: 1_usize },
        TracingResponse::FlowVersions { versions: vec![version()] },
        TracingResponse::Pong,
        TracingResponse::EventNotification { trace_id: trace_id.clone(), event: event() },
    ] {
        assert_eq!(tag(&response), response_name(&response));
    }
    for code in [
        ErrorCode::NotFound,
        ErrorCode::InvalidRequest,
        ErrorCode::StorageError,
        ErrorCode::SerializationError,
        ErrorCode::Unauthorized,
        ErrorCode::InternalError,
    ] {
        let name = tag(&code);
        assert_eq!(name, response_name(&TracingResponse::Error { message: String::new(), code }));
    }
    for message in [
        TraceMessage::StoreTrace { trace: trace() },
        TraceMessage::QueryTraces { query: query() },
        TraceMessage::GetTrace { trace_id: trace_id.clone() },
        TraceMessage::Subscribe { filter: filters() },
        TraceMessage::GetMetrics,
    ] {
        assert_eq!(tag(&message), message_name(&message));
    }
    for response in [
        TraceResponse::TraceStored { trace_id },
        TraceResponse::TracesFound { traces: vec![trace()] },
        TraceResponse::TraceData { trace: trace() },
        TraceResponse::Error { message: String::new() },
        TraceResponse::Metrics { data: serde_json::Value::Null },
    ] {
        assert_eq!(tag(&response), older_response_name(&response));
    }
    for status in [
        ExecutionStatus::Pending,
        ExecutionStatus::Running,
        ExecutionStatus::Completed,
        ExecutionStatus::Failed { error: String::new() },
        ExecutionStatus::Cancelled,
    ] {
        assert_eq!(tag(&status), status_name(&status));
    }
    for event_type in [
        TraceEventType::ActorCreated,
        TraceEventType::ActorStarted,
        TraceEventType::ActorCompleted,
        TraceEventType::ActorFailed,
        TraceEventType::MessageSent,
        TraceEventType::MessageReceived,
        TraceEventType::StateChanged,
        TraceEventType::PortConnected,
        TraceEventType::PortDisconnected,
        event().event_type,
        TraceEventType::NetworkEvent,
    ] {
        assert_eq!(tag(&event_type), event_name(&event_type));
    }
    for diff in [StateDiffType::Full, StateDiffType::Incremental, StateDiffType::MemoryOnly] {
        assert_eq!(tag(&diff), diff_name(&diff));
    }
}

#[test]
fn errors_say_what_they_said() {
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    for error in [
        TracingError::ConnectionFailed("why".to_owned()),
        TracingError::from(json),
        TracingError::WebSocketError("why".to_owned()),
        TracingError::Disconnected,
        TracingError::Timeout,
    ] {
        assert_eq!(error.to_string(), error_text(&error));
    }
}

#[test]
fn what_was_written_is_read_again() {
    let written = serde_json::to_string(&trace()).unwrap();
    let read: FlowTrace = serde_json::from_str(&written).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap().len(), written.len());
}

#[test]
fn ids_are_made_and_read_as_before() {
    let _: [fn() -> TraceId; 2] = [TraceId::new, TraceId::default];
    let _: [fn() -> ExecutionId; 2] = [ExecutionId::new, ExecutionId::default];
    let _: [fn() -> EventId; 2] = [EventId::new, EventId::default];
    let id = Uuid::from_u128(7);
    let trace: fn(Uuid) -> TraceId = TraceId::from_uuid;
    let uuid: fn(&TraceId) -> &Uuid = TraceId::as_uuid;
    assert_eq!(uuid(&trace(id)), &id);
    let execution: fn(Uuid) -> ExecutionId = ExecutionId::from_uuid;
    let uuid: fn(&ExecutionId) -> &Uuid = ExecutionId::as_uuid;
    assert_eq!(uuid(&execution(id)), &id);
    let event: fn(Uuid) -> EventId = EventId::from_uuid;
    let uuid: fn(&EventId) -> &Uuid = EventId::as_uuid;
    assert_eq!(uuid(&event(id)), &id);
    assert_eq!(trace(id).to_string(), id.to_string());

    let _: fn(&'static str) -> FlowId = FlowId::new;
    let _: fn(String) -> FlowId = FlowId::new;
    let as_str: fn(&FlowId) -> &str = FlowId::as_str;
    assert_eq!(as_str(&FlowId::new("flow")), "flow");
    assert_eq!(FlowId::new("flow").to_string(), "flow");
}

#[test]
fn events_are_made_as_before() {
    let one: [fn(String) -> TraceEvent; 2] = [TraceEvent::actor_created, TraceEvent::actor_completed];
    let failed: fn(String, String) -> TraceEvent = TraceEvent::actor_failed;
    let sent: fn(String, String, String, usize) -> TraceEvent = TraceEvent::message_sent;
    let flow: fn(String, String, String, String, String, usize) -> TraceEvent = TraceEvent::data_flow;
    let text = |text: &str| text.to_owned();

    assert_eq!(one[0](text("a")).event_type, TraceEventType::ActorCreated);
    assert_eq!(one[1](text("a")).event_type, TraceEventType::ActorCompleted);
    assert_eq!(failed(text("a"), text("no")).data.error.as_deref(), Some("no"));
    let message = sent(text("a"), text("out"), text("T"), 3).data.message.unwrap();
    assert_eq!((message.message_type.as_str(), message.size_bytes, message.checksum.as_str()), ("T", 3, ""));
    let event = flow(text("a"), text("out"), text("b"), text("in"), text("T"), 3);
    assert_eq!(event.event_type, TraceEventType::DataFlow { to_actor: text("b"), to_port: text("in") });
    assert_eq!((event.actor_id.as_str(), event.data.port.as_deref()), ("a", Some("out")));
    assert!(event.causality.parent_event_id.is_none() && !event.causality.span_id.is_empty());
}

type Outcome<T> = Result<T, TracingError>;

/// Runs a future that has exactly this output and may move between threads.
fn done<T>(runtime: &tokio::runtime::Runtime, future: impl Future<Output = Outcome<T>> + Send) -> T {
    runtime.block_on(future).unwrap()
}

#[test]
fn every_method_of_the_client_is_called_as_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _: fn(TracingConfig) -> TracingClient = TracingClient::new;
    let _: fn() -> TracingClient = TracingClient::with_default_config;
    let _: fn(&'static str) -> TracingClient = TracingClient::with_server_url;
    let _: fn(String) -> TracingClient = TracingClient::with_server_url;
    let is_connected: fn(&TracingClient) -> bool = TracingClient::is_connected;
    let connection_status: fn(&TracingClient) -> String = TracingClient::connection_status;

    let client = TracingClient::new(config());
    done::<()>(&runtime, client.connect());
    let trace_id: TraceId = done::<TraceId>(&runtime, client.start_trace(FlowId::new("flow"), version()));
    done::<()>(&runtime, client.record_event(trace_id.clone(), event()));
    done::<()>(&runtime, client.ping());
    let found: Vec<FlowTrace> = done::<Vec<FlowTrace>>(&runtime, client.query_traces(query()));
    let trace: Option<FlowTrace> = done::<Option<FlowTrace>>(&runtime, client.get_trace(trace_id));
    done::<()>(&runtime, client.subscribe(filters()));
    done::<()>(&runtime, client.flush());
    done::<()>(&runtime, client.shutdown());
    assert!(found.is_empty() && trace.is_none());
    assert!(!is_connected(&client));
    assert_eq!(connection_status(&client), "Disconnected");
}

#[test]
fn every_method_of_the_integration_is_called_as_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let new: fn(TracingClient) -> TracingIntegration = TracingIntegration::new;
    let client: fn(&TracingIntegration) -> Arc<TracingClient> = TracingIntegration::client;
    let tracing = new(TracingClient::new(config()));
    let (borrowed, owned) = ("a", "a".to_owned());

    let _: TraceId = done::<TraceId>(&runtime, tracing.start_flow_trace(borrowed));
    let _: TraceId = done::<TraceId>(&runtime, tracing.start_flow_trace(&owned));
    done::<()>(&runtime, tracing.trace_actor_created(borrowed));
    done::<()>(&runtime, tracing.trace_actor_created(&owned));
    done::<()>(&runtime, tracing.trace_actor_completed(owned.clone()));
    done::<()>(&runtime, tracing.trace_actor_failed(borrowed, owned.clone()));
    done::<()>(&runtime, tracing.trace_message_sent(borrowed, &owned, owned.clone(), 1_usize));
    done::<()>(&runtime, tracing.trace_data_flow(borrowed, &owned, owned.clone(), borrowed, "T", 1_usize));
    assert!(!client(&tracing).is_connected());
}

#[test]
fn the_global_client_is_set_once() {
    let init: fn(TracingConfig) -> Outcome<()> = init_global_tracing;
    let global: fn() -> Option<&'static TracingIntegration> = global_tracing;
    assert!(global().is_none());
    init(config()).unwrap();
    assert!(global().is_some());
    assert!(matches!(init(config()), Err(TracingError::WebSocketError(_))));
}
