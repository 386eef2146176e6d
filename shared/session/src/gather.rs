//! Gathers single-event frames into chunks.
//!
//! A session gathers what has arrived while its last publish was under way, so that a busy v1 program pays for one commit per
//! round trip and not per event, and an idle one waits for no timer. Every frame still gets its own answer, in order, once
//! the chunk that holds it is durable.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use reflow_tracing_chunk::{ChunkBuilder, EndMark, EndStatus, Origin, Version, sanitize_name};
use reflow_tracing_protocol::wire::{Code, Response, StartTrace};
use reflow_tracing_protocol::{ExecutionStatus, FlowVersion};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::adoption::{Adoption, TooManyTraces};
use crate::answer::{Answer, Refusal, text};
use crate::ask::Dialect;
use crate::batch::check_name;
use crate::budget::Taken;
use crate::capabilities::Shared;
use crate::cut::Cut;
use crate::flow::{Flow, Flows};
use crate::publish::publish_all;

/// Frames waiting for the publish before theirs.
#[derive(Default)]
pub(crate) struct Gather {
    items: Vec<Item>,
    bytes: usize,
    received_us: i64,
    taken: Vec<Taken>,
}

/// A frame that takes part in a gather.
pub(crate) enum Item {
    /// An event: the frame and where in it.
    Event { sent_id: Uuid, frame: Utf8Bytes, range: Range<usize> },
    /// A start, with or without an id.
    Start(StartTrace),
    /// An explicit end.
    End { trace_id: Uuid, status: ExecutionStatus, request_id: Option<Box<RawValue>> },
}

/// A gather whose frames know their traces.
pub(crate) struct Resolved {
    traces: Vec<Trace>,
    replies: Vec<Reply>,
    received_us: i64,
    strict: bool,
    dialect: Dialect,
    _taken: Vec<Taken>,
}

struct Trace {
    id: Uuid,
    flow: Option<Flow>,
    /// Nobody on this session has asked the directory for the flow yet.
    look_up: bool,
    events: Vec<(Utf8Bytes, Range<usize>)>,
    sent_ids: Vec<u8>,
    start: Option<(Option<Uuid>, Option<Version>)>,
    end: Option<EndMark>,
    /// It gave way to newer ones.
    closed: bool,
}

/// How a frame will be answered, and by which trace's chunk it stands or falls.
enum Reply {
    Event { trace: usize, event: usize },
    Started { trace: usize, request_id: Option<Box<RawValue>> },
    Ended { trace: usize, request_id: Option<Box<RawValue>> },
    NotRecorded(Refusal, Option<Box<RawValue>>),
    Refused(Refusal, Option<Box<RawValue>>),
}

/// What a published gather leaves behind.
pub(crate) struct Gathered {
    /// The answers to its frames, in order.
    pub(crate) answer: Answer,
    /// What the directory said.
    pub(crate) learned: Vec<(Uuid, Option<Flow>)>,
    /// Traces of which nothing was fit to be published.
    pub(crate) nothing: Vec<Uuid>,
}

impl Gather {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what came in a frame of `bytes`; `taken` is what that holds of the byte budget. Starts and ends hold names, versions and
    /// errors of their frame, so they count like events.
    pub(crate) fn add(&mut self, item: Item, bytes: usize, taken: Option<Taken>, now_us: i64) {
        self.bytes += bytes;
        self.taken.extend(taken);
        if self.items.is_empty() {
            self.received_us = now_us;
        }
        self.items.push(item);
    }

    /// Settles which trace each frame belongs to. Leaves the gather empty.
    pub(crate) fn resolve(
        &mut self,
        adoption: &mut Adoption,
        flows: &mut Flows,
        shared: &Shared,
        dialect: Dialect,
    ) -> Resolved {
        let gather = std::mem::take(self);
        let counts = Adoption::count(gather.items.iter().filter_map(|item| match item {
            Item::Event { sent_id, .. } => Some(*sent_id),
            _ => None,
        }));
        let mut resolver = Resolver { adoption, flows, shared, counts, traces: Vec::new(), places: HashMap::new() };
        let replies = gather.items.into_iter().map(|item| resolver.next(item, gather.received_us)).collect();
        Resolved {
            traces: resolver.traces,
            replies,
            received_us: gather.received_us,
            strict: dialect == Dialect::V2,
            dialect,
            _taken: gather.taken,
        }
    }
}

struct Resolver<'a> {
    adoption: &'a mut Adoption,
    flows: &'a mut Flows,
    shared: &'a Shared,
    counts: HashMap<Uuid, usize>,
    traces: Vec<Trace>,
    places: HashMap<Uuid, usize>,
}

impl Resolver<'_> {
    fn next(&mut self, item: Item, received_us: i64) -> Reply {
        let reply = self.item(item, received_us);
        for id in self.adoption.take_gave_way() {
            let trace = self.trace(id);
            self.traces[trace].closed = true;
        }
        reply
    }

    fn item(&mut self, item: Item, received_us: i64) -> Reply {
        let max_traces = self.shared.limits.max_open_traces;
        match item {
            Item::Event { sent_id, frame, range } => {
                let in_gather = self.counts.get(&sent_id).copied().unwrap_or(1);
                match self.adoption.resolve(sent_id, in_gather, max_traces) {
                    Ok(id) => {
                        let trace = self.trace(id);
                        let group = &mut self.traces[trace];
                        if group.closed || !group.has_part() {
                            self.adoption.gathered(id);
                        }
                        if sent_id != id {
                            group.sent_ids.extend_from_slice(sent_id.as_bytes());
                        }
                        group.events.push((frame, range));
                        group.closed = false;
                        Reply::Event { trace, event: group.events.len() - 1 }
                    }
                    Err(TooManyTraces) => Reply::NotRecorded(too_many_traces(max_traces), None),
                }
            }
            Item::Start(start) => self.start(start, max_traces),
            Item::End { trace_id, status, request_id } => {
                let (status, error) = match status {
                    ExecutionStatus::Completed => (EndStatus::Completed, String::new()),
                    ExecutionStatus::Cancelled => (EndStatus::Cancelled, String::new()),
                    ExecutionStatus::Failed { error } => (EndStatus::Failed, error),
                    ExecutionStatus::Pending | ExecutionStatus::Running => {
                        let message = "EndTrace: a trace ends as Completed, Failed or Cancelled";
                        return Reply::NotRecorded(
                            Refusal::new(Code::InvalidRequest, "end_status", message),
                            request_id,
                        );
                    }
                };
                let trace_id = self.adoption.ended(trace_id);
                let trace = self.trace(trace_id);
                let error = reflow_tracing_chunk::sanitize_error(&error);
                let mark = EndMark { at_us: received_us, status: status.into(), error };
                let end = &mut self.traces[trace].end;
                if end.as_ref().is_none_or(|end| end.order(&mark).is_lt()) {
                    *end = Some(mark);
                }
                Reply::Ended { trace, request_id }
            }
        }
    }

    fn start(&mut self, start: StartTrace, max_traces: usize) -> Reply {
        let StartTrace { trace_id, flow_id, flow_name, version, execution_id, request_id } = start;
        let checked = check_name("flow_id", &flow_id)
            .and_then(|()| flow_name.as_deref().map_or(Ok(()), |name| check_name("flow_name", name)));
        if let Err(refusal) = checked {
            return Reply::Refused(refusal, request_id);
        }
        let started = match trace_id {
            Some(id) => self.adoption.start_with_id(id, max_traces),
            None => self.adoption.start(Uuid::now_v7(), max_traces),
        };
        let id = match started {
            Ok(id) => id,
            Err(TooManyTraces) => return Reply::Refused(too_many_traces(max_traces), request_id),
        };
        let flow = Flow::new(&flow_id, flow_name.as_deref(), self.shared.limits.flow_naming);
        self.flows.learn(id, Some(flow.clone()));
        let trace = self.trace(id);
        let group = &mut self.traces[trace];
        if !group.has_part() {
            self.adoption.gathered(id);
        }
        (group.flow, group.look_up) = (Some(flow), false);
        group.start = Some((execution_id, version.map(version_of)));
        Reply::Started { trace, request_id }
    }

    fn trace(&mut self, id: Uuid) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            let flow = self.flows.get(id);
            self.traces.push(Trace {
                id,
                look_up: flow.is_none(),
                flow: flow.flatten(),
                events: Vec::new(),
                sent_ids: Vec::new(),
                start: None,
                end: None,
                closed: false,
            });
            self.traces.len() - 1
        })
    }
}

fn too_many_traces(max: usize) -> Refusal {
    let message = format!("session has {max} traces open (max_open_traces); end some, or open another session");
    Refusal::new(Code::LimitExceeded, "open_traces", message)
}

pub(crate) fn version_of(version: FlowVersion) -> Version {
    Version {
        major: version.major,
        minor: version.minor,
        patch: version.patch,
        git_hash: version.git_hash.map(|hash| sanitize_name(&hash).chars().take(128).collect()),
        timestamp_us: version.timestamp.timestamp_micros(),
    }
}

impl Resolved {
    /// Builds the chunks, publishes them and says how each frame fared.
    pub(crate) async fn publish(mut self, shared: Arc<Shared>) -> Gathered {
        shared.metrics.gather_frames.observe(self.replies.len() as f64);
        let mut learned = Vec::new();
        for trace in self.traces.iter_mut().filter(|trace| trace.look_up) {
            trace.flow = Flow::find(&shared, trace.id).await;
            learned.push((trace.id, trace.flow.clone()));
        }
        for trace in self.traces.iter().filter(|trace| trace.start.is_some()) {
            if let Some(flow) = &trace.flow {
                flow.tell(&shared, trace.id).await;
            }
        }
        let origin = Origin::V1Session;
        let mut chunks = Vec::new();
        let mut cuts = Vec::new();
        let mut nothing = Vec::new();
        for trace in &self.traces {
            let events: Vec<&str> = trace.events.iter().map(|(frame, range)| &frame[range.clone()]).collect();
            let mut start = |first: usize| {
                let id = Uuid::now_v7();
                let mut builder = ChunkBuilder::new(id, trace.id, &shared.limits.tenant, self.received_us, origin);
                trace.fill(builder.header_mut(), first == 0, self.received_us);
                builder
            };
            let cut = Cut::new(&shared, &events, &mut start);
            if cut.chunks.is_empty() {
                nothing.push(trace.id);
            }
            cuts.push((chunks.len(), cut.places));
            chunks.extend(cut.chunks);
        }
        let outcomes = publish_all(&shared, chunks).await;
        let answers =
            self.replies.into_iter().map(|reply| reply.answer(&self.traces, &cuts, &outcomes, self.dialect, &shared));
        let mut merged: Vec<Answer> = Vec::new();
        for answer in answers {
            match (merged.last_mut(), answer) {
                // v2 answers are the same here; only their number counts.
                (Some(Answer::Recorded(count)), Answer::Recorded(more)) => *count += more,
                (_, answer) => merged.push(answer),
            }
        }
        debug_assert!(self.strict == (self.dialect == Dialect::V2));
        Gathered { answer: Answer::Many(merged), learned, nothing }
    }
}

impl Trace {
    /// Something of it is in this gather already.
    fn has_part(&self) -> bool {
        !self.events.is_empty() || self.start.is_some()
    }

    fn fill(&self, header: &mut reflow_tracing_chunk::Header, first: bool, received_us: i64) {
        if let Some(flow) = &self.flow {
            flow.fill(header);
        }
        // Marks and ids once a trace, however it is cut.
        if first {
            header.sent_ids.clone_from(&self.sent_ids);
            header.ended.clone_from(&self.end);
            header.closed_us = self.closed.then_some(received_us);
            if let Some((execution_id, version)) = &self.start {
                header.started_us = Some(received_us);
                header.execution_id = execution_id.map(|id| id.as_bytes().to_vec());
                header.flow_version.clone_from(version);
            }
        }
    }
}

impl Reply {
    fn answer(
        self,
        traces: &[Trace],
        cuts: &[(usize, Vec<Result<usize, String>>)],
        outcomes: &[Result<(), Refusal>],
        dialect: Dialect,
        shared: &Shared,
    ) -> Answer {
        let metrics = &shared.metrics;
        let refused = |refusal: &Refusal| metrics.refused.with_label_values(&[refusal.reason]).inc();
        let marks = |trace: usize| outcomes.get(cuts[trace].0).cloned().unwrap_or(Ok(()));
        match self {
            Self::Event { trace, event } => {
                let (first, places) = &cuts[trace];
                let outcome = match &places[event] {
                    Ok(place) => outcomes[first + place].clone(),
                    Err(reason) => Err(Refusal::new(Code::InvalidRequest, "event", reason.clone())),
                };
                match outcome {
                    Ok(()) => {
                        metrics.accepted.inc();
                        Answer::Recorded(1)
                    }
                    Err(refusal) => {
                        metrics.events.with_label_values(&["refused"]).inc();
                        refused(&refusal);
                        refusal.not_recorded(dialect, None)
                    }
                }
            }
            Self::Started { trace, request_id } => match marks(trace) {
                Ok(()) => text(&Response::TraceStarted { trace_id: traces[trace].id, request_id }),
                Err(refusal) => {
                    refused(&refusal);
                    refusal.answer(dialect, None, request_id)
                }
            },
            Self::Ended { trace, request_id } => match marks(trace) {
                Ok(()) if request_id.is_none() => Answer::Recorded(1),
                Ok(()) => {
                    let (error, code, retryable) = (None, None, None);
                    text(&Response::EventRecorded { success: true, error, code, retryable, request_id })
                }
                Err(refusal) => {
                    refused(&refusal);
                    refusal.not_recorded(dialect, request_id)
                }
            },
            Self::NotRecorded(refusal, request_id) => {
                metrics.events.with_label_values(&["refused"]).inc();
                refused(&refusal);
                refusal.not_recorded(dialect, request_id)
            }
            Self::Refused(refusal, request_id) => {
                refused(&refusal);
                refusal.answer(dialect, None, request_id)
            }
        }
    }
}
