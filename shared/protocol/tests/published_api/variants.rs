//! Every variant of every enum, made, and written under its name.

use reflow_tracing_protocol::client::TracingError;
use reflow_tracing_protocol::{
    ErrorCode, ExecutionStatus, FlowId, FlowTrace, StateDiffType, TraceEventType, TraceId, TraceMessage, TraceResponse,
    TracingRequest, TracingResponse,
};
use serde::Serialize;

use super::names::{
    diff_name, error_text, event_name, message_name, older_response_name, request_name, response_name, status_name,
};
use super::samples::{event, filters, query, trace, version};

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
