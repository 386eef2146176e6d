//! `StoreTrace`, the older generation's way: a whole trace in one frame, cut into slices whose ids are hashes, so that the same
//! trace twice changes nothing.

use std::sync::Arc;

use reflow_tracing_chunk::{ChunkBuilder, EndMark, EndStatus, Origin, sanitize_error, store_trace_chunk_id};
use reflow_tracing_protocol::wire::{Code, Response};
use reflow_tracing_protocol::{ExecutionStatus, FlowTrace};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::{Answer, Refusal, text};
use crate::ask::Dialect;
use crate::batch::check_name;
use crate::capabilities::Shared;
use crate::clock::now_us;
use crate::cut::Cut;
use crate::flow::Flow;
use crate::gather::version_of;
use crate::publish::publish_all;

/// Events a slice.
const SLICE: usize = 500;
/// Refused events that are named in the answer.
const NAMED: usize = 5;
/// Metadata, as JSON, of at most so many bytes: they travel in a chunk's header, which has room for names besides.
const MAX_METADATA_BYTES: usize = 64 << 10;

/// Stores the trace and answers.
pub(crate) async fn store_trace(shared: Arc<Shared>, trace: Box<FlowTrace>, events: Vec<Box<RawValue>>) -> Answer {
    match store(&shared, &trace, &events).await {
        Ok(()) => text(&Response::TraceStored { trace_id: trace.trace_id.0 }),
        Err(refusal) => {
            shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
            refusal.answer(Dialect::V1Older, None, None)
        }
    }
}

async fn store(shared: &Shared, trace: &FlowTrace, events: &[Box<RawValue>]) -> Result<(), Refusal> {
    check_name("flow_id", &trace.flow_id.0)?;
    let metadata = metadata_of(trace)?;
    let trace_id = trace.trace_id.0;
    let flow = Flow::new(&trace.flow_id.0, None, shared.limits.flow_naming);
    flow.tell(shared, trace_id).await;
    let received_us = now_us();
    let mut chunks = Vec::new();
    let mut refused = Vec::new();
    // A trace without events is one slice too: its marks are worth storing.
    let slices: Vec<&[Box<RawValue>]> = if events.is_empty() { vec![&[]] } else { events.chunks(SLICE).collect() };
    let last = slices.len() - 1;
    for (slice, events) in slices.into_iter().enumerate() {
        let texts: Vec<&str> = events.iter().map(|event| event.get()).collect();
        let mut start = |first: usize| {
            // A slice that does not fit is cut where it was cut the first time: the rest of it hashes to an id of its own.
            let raw: Vec<&RawValue> = events[first..].iter().map(|event| &**event).collect();
            let id = store_trace_chunk_id(trace_id, slice * SLICE + first, &raw);
            let mut builder = ChunkBuilder::new(id, trace_id, &shared.limits.tenant, received_us, Origin::StoreTrace);
            flow.fill(builder.header_mut());
            // Once a trace, however it is cut; in the slice that changes when the trace is stored again with more events.
            if slice == last && first == 0 {
                mark(builder.header_mut(), trace, metadata.clone(), received_us);
            }
            builder
        };
        let cut = Cut::new(shared, &texts, &mut start);
        for (index, place) in cut.places.into_iter().enumerate() {
            if let Err(reason) = place {
                refused.push((slice * SLICE + index, reason));
            }
        }
        chunks.extend(cut.chunks);
    }
    // A trace whose every event is refused is refused, its marks with it.
    let all_refused = !events.is_empty() && refused.len() == events.len();
    if !all_refused {
        publish_all(shared, chunks).await.into_iter().collect::<Result<(), _>>()?;
    }
    let metrics = &shared.metrics;
    metrics.accepted.inc_by((events.len() - refused.len()) as u64);
    metrics.events.with_label_values(&["refused"]).inc_by(refused.len() as u64);
    if refused.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        refused.iter().take(NAMED).map(|(index, reason)| format!("event {index}: {reason}")).collect();
    let (total, count) = (events.len(), refused.len());
    let others = if all_refused { "nothing is stored" } else { "the others are stored" };
    let message = format!("{count} of {total} events were refused, {others}; {}", named.join("; "));
    Err(Refusal::new(Code::InvalidRequest, "event", message))
}

fn metadata_of(trace: &FlowTrace) -> Result<Option<String>, Refusal> {
    let metadata = serde_json::to_string(&trace.metadata).ok();
    match metadata.as_ref().map_or(0, String::len) {
        bytes if bytes > MAX_METADATA_BYTES => Err(Refusal::new(
            Code::LimitExceeded,
            "metadata",
            format!("metadata is {bytes} bytes long; at most {MAX_METADATA_BYTES} are allowed: put less into its tags"),
        )),
        _ => Ok(metadata),
    }
}

/// What is said of the trace as a whole.
fn mark(header: &mut reflow_tracing_chunk::Header, trace: &FlowTrace, metadata: Option<String>, received_us: i64) {
    if trace.execution_id.0 != Uuid::nil() && trace.execution_id.0 != trace.trace_id.0 {
        header.execution_id = Some(trace.execution_id.0.as_bytes().to_vec());
    }
    header.flow_version = Some(version_of(trace.version.clone()));
    header.metadata_json = metadata;
    header.started_us = Some(received_us);
    let (status, error) = match &trace.status {
        ExecutionStatus::Completed => (EndStatus::Completed, String::new()),
        ExecutionStatus::Cancelled => (EndStatus::Cancelled, String::new()),
        ExecutionStatus::Failed { error } => (EndStatus::Failed, sanitize_error(error)),
        ExecutionStatus::Pending | ExecutionStatus::Running => return,
    };
    header.ended = Some(EndMark { at_us: received_us, status: status.into(), error });
}
