//! Every enum, matched without `_`: the names of its variants, and of errors the text.

use reflow_tracing_protocol::client::TracingError;
use reflow_tracing_protocol::{
    ErrorCode, ExecutionStatus, FlowId, FlowTrace, FlowVersion, StateDiffType, SubscriptionFilters, TraceEvent,
    TraceEventType, TraceId, TraceMessage, TraceQuery, TraceResponse, TracingRequest, TracingResponse,
};

pub fn request_name(request: &TracingRequest) -> &'static str {
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

pub fn response_name(response: &TracingResponse) -> &'static str {
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

pub fn message_name(message: &TraceMessage) -> &'static str {
    match message {
        TraceMessage::StoreTrace { trace: FlowTrace { .. } } => "StoreTrace",
        TraceMessage::QueryTraces { query: TraceQuery { .. } } => "QueryTraces",
        TraceMessage::GetTrace { trace_id: TraceId(_) } => "GetTrace",
        TraceMessage::Subscribe { filter: SubscriptionFilters { .. } } => "Subscribe",
        TraceMessage::GetMetrics => "GetMetrics",
    }
}

pub fn older_response_name(response: &TraceResponse) -> &'static str {
    match response {
        TraceResponse::TraceStored { trace_id: TraceId(_) } => "TraceStored",
        TraceResponse::TracesFound { traces: _ } => "TracesFound",
        TraceResponse::TraceData { trace: FlowTrace { .. } } => "TraceData",
        TraceResponse::Error { message: _ } => "Error",
        TraceResponse::Metrics { data: _ } => "Metrics",
    }
}

pub fn status_name(status: &ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Pending => "Pending",
        ExecutionStatus::Running => "Running",
        ExecutionStatus::Completed => "Completed",
        ExecutionStatus::Failed { error: _ } => "Failed",
        ExecutionStatus::Cancelled => "Cancelled",
    }
}

pub fn event_name(event_type: &TraceEventType) -> &'static str {
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

pub fn diff_name(diff: &StateDiffType) -> &'static str {
    match diff {
        StateDiffType::Full => "Full",
        StateDiffType::Incremental => "Incremental",
        StateDiffType::MemoryOnly => "MemoryOnly",
    }
}

pub fn error_text(error: &TracingError) -> String {
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
