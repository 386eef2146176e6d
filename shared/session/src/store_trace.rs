//! `StoreTrace`, the older generation's way: a whole trace in one frame, cut into slices whose ids are hashes, so that the same
//! trace twice changes nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use reflow_tracing_chunk::{Chunk, ChunkBuilder, EndMark, EndStatus, Origin, sanitize_error, store_trace_chunk_id};
use reflow_tracing_protocol::wire::{Code, Response, brief, for_each_element};
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

/// Stores the trace, whose events are a JSON array, and answers.
pub(crate) async fn store_trace(shared: Arc<Shared>, trace: Box<FlowTrace>, events: &str) -> Answer {
    match store(&shared, &trace, events).await {
        Ok(()) => text(&Response::TraceStored { trace_id: trace.trace_id.0 }),
        Err(refusal) => {
            shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
            refusal.answer(Dialect::V1Older, None, None)
        }
    }
}

async fn store(shared: &Shared, trace: &FlowTrace, events: &str) -> Result<(), Refusal> {
    check_name("flow_id", &trace.flow_id.0)?;
    let flow = Flow::new(&trace.flow_id.0, None, shared.limits.flow_naming);
    flow.tell(shared, trace.trace_id.0).await;
    let mut slices = Slices::new(shared, trace, &flow);
    let mut slice: Vec<&RawValue> = Vec::with_capacity(SLICE);
    let most = shared.limits.max_batch_events;
    let read = for_each_element(events, |event| {
        // Not before there is a next one, as the last slice has the trace's marks.
        if slice.len() == SLICE {
            slices.add(&slice, false);
            slice.clear();
        }
        slice.push(event);
        // What is good is bounded by its size, and by nothing what is not: millions of numbers fit into a frame.
        if slices.refused > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let all_read = read.map_err(|error| Refusal::new(Code::InvalidRequest, "event", brief(error)))?.is_continue();
    // A trace without events is one slice too: its marks are worth storing.
    slices.add(&slice, true);
    let Slices { chunks, events, refused, named, .. } = slices;
    // A trace whose every event is refused is refused, its marks with it.
    let stored = all_read && (events == 0 || refused < events);
    if stored {
        publish_all(shared, chunks).await.into_iter().collect::<Result<(), _>>()?;
        shared.metrics.accepted.inc_by((events - refused) as u64);
    }
    shared.metrics.events.with_label_values(&["refused"]).inc_by(refused as u64);
    if refused == 0 {
        return Ok(());
    }
    let (of, others) = match (all_read, stored) {
        (true, true) => (format!("of {events}"), "the others are stored"),
        (true, false) => (format!("of {events}"), "nothing is stored"),
        (false, _) => (format!("of the first {events}"), "the rest is not read, nothing is stored"),
    };
    let message = format!("{refused} {of} events were refused, {others}; {}", named.join("; "));
    Err(Refusal::new(Code::InvalidRequest, "event", message))
}

/// The slices of a trace so far.
struct Slices<'a> {
    shared: &'a Shared,
    trace: &'a FlowTrace,
    flow: &'a Flow,
    received_us: i64,
    chunks: Vec<Chunk>,
    events: usize,
    refused: usize,
    /// Why the first of them were.
    named: Vec<String>,
}

impl<'a> Slices<'a> {
    fn new(shared: &'a Shared, trace: &'a FlowTrace, flow: &'a Flow) -> Self {
        let received_us = now_us();
        Self { shared, trace, flow, received_us, chunks: Vec::new(), events: 0, refused: 0, named: Vec::new() }
    }

    fn add(&mut self, events: &[&RawValue], last: bool) {
        let (trace_id, before) = (self.trace.trace_id.0, self.events);
        let texts: Vec<&str> = events.iter().map(|event| event.get()).collect();
        let mut start = |first: usize| {
            // A slice that does not fit is cut where it was cut the first time: the rest of it hashes to an id of its own.
            let id = store_trace_chunk_id(trace_id, before + first, &events[first..]);
            let tenant = &self.shared.limits.tenant;
            let mut builder = ChunkBuilder::new(id, trace_id, tenant, self.received_us, Origin::StoreTrace);
            self.flow.fill(builder.header_mut());
            // Once a trace, however it is cut; in the slice that changes when the trace is stored again with more events.
            if last && first == 0 {
                mark(builder.header_mut(), self.trace, self.received_us);
            }
            builder
        };
        let cut = Cut::new(self.shared, &texts, &mut start);
        for (index, place) in cut.places.into_iter().enumerate() {
            let Err(reason) = place else { continue };
            self.refused += 1;
            if self.named.len() < NAMED {
                self.named.push(format!("event {}: {reason}", before + index));
            }
        }
        self.chunks.extend(cut.chunks);
        self.events += events.len();
    }
}

/// What is said of the trace as a whole.
fn mark(header: &mut reflow_tracing_chunk::Header, trace: &FlowTrace, received_us: i64) {
    if trace.execution_id.0 != Uuid::nil() && trace.execution_id.0 != trace.trace_id.0 {
        header.execution_id = Some(trace.execution_id.0.as_bytes().to_vec());
    }
    header.flow_version = Some(version_of(trace.version.clone()));
    header.metadata_json = serde_json::to_string(&trace.metadata).ok();
    header.started_us = Some(received_us);
    let (status, error) = match &trace.status {
        ExecutionStatus::Completed => (EndStatus::Completed, String::new()),
        ExecutionStatus::Cancelled => (EndStatus::Cancelled, String::new()),
        ExecutionStatus::Failed { error } => (EndStatus::Failed, sanitize_error(error)),
        ExecutionStatus::Pending | ExecutionStatus::Running => return,
    };
    header.ended = Some(EndMark { at_us: received_us, status: status.into(), error });
}
