//! What a frame asks for. Owned, so that the frame can travel on.

use std::ops::Range;

use bytes::Bytes;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{
    BatchFrame, BatchHeader, ClientReport, Code, Request, RequestError, StartTrace, SubscribeRequest, brief,
};
use reflow_tracing_protocol::{ExecutionStatus, FlowTrace};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::ask::Ask;
use crate::batch::check_length;

/// What to do about a frame.
pub(crate) enum Action {
    /// Record one event, which lies there in the frame.
    Event { sent_id: Uuid, range: Range<usize> },
    /// Begin a trace.
    Start(StartTrace),
    /// End a trace.
    End { trace_id: Uuid, status: ExecutionStatus, request_id: Option<Box<RawValue>> },
    /// Record a v2 batch.
    Batch { header: BatchHeader, payload: Bytes },
    /// Store a whole trace, whose events lie there in the frame.
    Store { trace: Box<FlowTrace>, events: Range<usize> },
    /// Ask history.
    Ask { ask: Ask, request_id: Option<Box<RawValue>> },
    /// Subscribe.
    Subscribe(SubscribeRequest),
    /// Unsubscribe.
    Unsubscribe(Option<String>),
    /// Take over a client's own figures.
    Report(Box<ClientReport>),
    /// Say that we are there.
    Ping,
    /// Tell the figures.
    Figures,
}

/// A frame understood: what it asks for, its name for the metrics, and whether only the older generation says so.
pub(crate) struct Understood {
    pub(crate) action: Action,
    pub(crate) request: &'static str,
    pub(crate) older: bool,
}

/// Reads a text frame.
pub(crate) fn text(frame: &str) -> Result<Understood, Refusal> {
    let request = Request::parse(frame).map_err(|error| {
        let (code, reason) = match &error {
            RequestError::Shape(_) => (Code::SerializationError, "not_a_request"),
            RequestError::Unknown { .. } => (Code::InvalidRequest, "unknown_request"),
            RequestError::Fields { .. } => (Code::InvalidRequest, "request_fields"),
            RequestError::Subscribe { .. } => (Code::LimitExceeded, "subscribe_size"),
            RequestError::Metadata { .. } => (Code::LimitExceeded, "metadata"),
        };
        Refusal::new(code, reason, brief(error))
    })?;
    check_ids(&request)?;
    let (action, name, older) = match request {
        Request::RecordEvent { trace_id, event } => {
            (Action::Event { sent_id: trace_id, range: place(frame, event) }, "RecordEvent", false)
        }
        Request::StartTrace(start) => (Action::Start(start), "StartTrace", false),
        Request::EndTrace { trace_id, status, request_id } => {
            (Action::End { trace_id, status, request_id }, "EndTrace", false)
        }
        Request::RecordBatch(batch) => {
            let events = batch.events.get();
            let header = BatchHeader {
                batch_id: batch.batch_id,
                trace_id: batch.trace_id,
                flow_id: batch.flow_id,
                flow_name: batch.flow_name,
                client_id: batch.client_id,
                sequence: batch.sequence,
                dropped: batch.dropped,
                codec: Codec::None,
                raw_size: u32::try_from(events.len()).unwrap_or(u32::MAX),
            };
            (Action::Batch { header, payload: Bytes::copy_from_slice(events.as_bytes()) }, "RecordBatch", false)
        }
        Request::GetTrace { trace_id, request_id } => {
            (Action::Ask { ask: Ask::GetTrace { trace_id }, request_id }, "GetTrace", false)
        }
        Request::QueryTraces { query, after, request_id } => {
            (Action::Ask { ask: Ask::QueryTraces { query, after }, request_id }, "QueryTraces", false)
        }
        Request::GetFlowVersions { flow_id, request_id } => {
            (Action::Ask { ask: Ask::GetFlowVersions { flow_id }, request_id }, "GetFlowVersions", false)
        }
        Request::Subscribe(request) => {
            let older = request.older;
            (Action::Subscribe(request), "Subscribe", older)
        }
        Request::Unsubscribe { subscription_id } => (Action::Unsubscribe(subscription_id), "Unsubscribe", false),
        Request::ClientMetrics(report) => (Action::Report(report), "ClientMetrics", false),
        Request::StoreTrace { trace, events } => {
            (Action::Store { trace, events: place(frame, events) }, "StoreTrace", true)
        }
        Request::GetMetrics => (Action::Figures, "GetMetrics", true),
        Request::Ping => (Action::Ping, "Ping", false),
    };
    Ok(Understood { action, request: name, older })
}

/// What a client calls its requests and subscriptions is kept until they are answered, or ended, after their frame has gone.
fn check_ids(request: &Request<'_>) -> Result<(), Refusal> {
    match request {
        Request::StartTrace(StartTrace { request_id, .. })
        | Request::EndTrace { request_id, .. }
        | Request::GetTrace { request_id, .. }
        | Request::QueryTraces { request_id, .. }
        | Request::GetFlowVersions { request_id, .. } => {
            check_length("request_id", request_id.as_ref().map_or(0, |id| id.get().len()))
        }
        Request::Subscribe(SubscribeRequest { subscription_id, .. }) | Request::Unsubscribe { subscription_id } => {
            check_length("subscription_id", subscription_id.as_ref().map_or(0, String::len))
        }
        _ => Ok(()),
    }
}

/// What the sender of a refused frame knows it by, unless that is what it is refused for: the answer may have to wait, too.
pub(crate) fn request_id(frame: &str) -> Option<Box<RawValue>> {
    Request::request_id(frame).filter(|id| check_length("request_id", id.get().len()).is_ok())
}

/// Reads a binary frame of a v2 session that says it is a batch.
pub(crate) fn batch(frame: &Bytes) -> Result<Understood, Refusal> {
    let BatchFrame { header, payload } = BatchFrame::decode(frame)
        .map_err(|error| Refusal::new(Code::SerializationError, "batch_frame", brief(error)))?;
    let payload = frame.slice_ref(payload);
    Ok(Understood { action: Action::Batch { header, payload }, request: "RecordBatch", older: false })
}

/// Where a part lies in the whole it was borrowed from.
fn place(whole: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.get().len()
}
