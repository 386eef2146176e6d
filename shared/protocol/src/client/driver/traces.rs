//! The traces a client records: who they are, how many events they have, what was dropped; and their batches while they grow.
//!
//! Guarantee: `sequence` and `dropped` of the last batch of a trace tell how many events the client has recorded of it, and how many
//! of them it dropped. So a trace can say what is missing.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::batch::{Builder, Outgoing};
use super::super::shared::Drops;
use crate::codec::Codec;
use crate::wire::BatchHeader;
use crate::{ExecutionStatus, TraceEvent, TraceEventType};

/// Traces that nobody began here (their ids came from elsewhere) are forgotten beyond so many. Their count begins anew then.
const MAX_TRACES: usize = 4_096;
/// Longest names a server takes, bytes.
const MAX_NAME_BYTES: usize = 512;

/// What a trace is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) id: Option<String>,
    /// Where the flow id is not what it should be grouped by.
    pub(crate) name: Option<String>,
}

/// How batches are made at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Making<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) codec: Codec,
    pub(crate) level: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) flow: Flow,
    /// Begun by this client, or the one that its first `start_trace` will name: ended on shutdown.
    pub(crate) own: bool,
    /// A `StartTrace` says so.
    pub(crate) started: bool,
    pub(crate) ended: bool,
    /// Its first failure.
    pub(crate) failure: Option<String>,
    /// Events that were in a batch, or dropped before.
    counted: u64,
    dropped: u64,
    /// What the last batch said of `dropped`.
    reported: u64,
    builder: Builder,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    known: HashMap<Uuid, Trace>,
}

impl Traces {
    pub(crate) fn get(&mut self, trace_id: Uuid) -> &mut Trace {
        if self.known.len() >= MAX_TRACES && !self.known.contains_key(&trace_id) {
            self.known.retain(|_, trace| (trace.own && !trace.ended) || trace.builder.events() > 0);
        }
        self.known.entry(trace_id).or_default()
    }

    /// Books what was dropped elsewhere.
    pub(crate) fn book(&mut self, drops: HashMap<Uuid, Drops>) {
        for (trace_id, drops) in drops {
            let trace = self.get(trace_id);
            trace.counted += drops.events;
            trace.dropped += drops.events + drops.batched;
        }
    }

    /// Own traces that nobody has ended.
    pub(crate) fn open(&self) -> Vec<(Uuid, ExecutionStatus)> {
        // The trace that was never named and has no events is none.
        let is_one = |trace: &Trace| trace.started || trace.counted > 0 || trace.builder.events() > 0;
        let open = self.known.iter().filter(|(_, trace)| trace.own && !trace.ended && is_one(trace));
        open.map(|(id, trace)| (*id, trace.outcome())).collect()
    }

    /// The traces whose batch grows.
    pub(crate) fn growing_ids(&self) -> Vec<Uuid> {
        self.known.iter().filter(|(_, trace)| trace.builder.events() > 0).map(|(id, _)| *id).collect()
    }

    /// The traces whose drops the server has not heard of.
    pub(crate) fn unreported(&self) -> Vec<Uuid> {
        self.known.iter().filter(|(_, trace)| trace.dropped > trace.reported).map(|(id, _)| *id).collect()
    }
}

impl Trace {
    /// Adds an event to the batch that grows.
    pub(crate) fn push(&mut self, event: &TraceEvent) -> Result<(), serde_json::Error> {
        if event.event_type == TraceEventType::ActorFailed && self.failure.is_none() {
            self.failure = Some(event.data.error.clone().unwrap_or_default());
        }
        self.builder.push(event)
    }

    pub(crate) fn events(&self) -> usize {
        self.builder.events()
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.builder.raw_bytes()
    }

    /// Makes a batch of what has grown; an empty one only tells the counts.
    pub(crate) fn seal(&mut self, trace_id: Uuid, making: &Making<'_>, number: u64) -> Outgoing {
        let header = BatchHeader {
            batch_id: Uuid::now_v7(),
            trace_id,
            flow_id: self.flow.id.clone(),
            flow_name: self.flow.name.clone(),
            client_id: making.client_id.to_owned(),
            sequence: self.counted,
            dropped: self.dropped,
            codec: making.codec,
            raw_size: 0,
        };
        self.counted += self.builder.events() as u64;
        self.reported = self.dropped;
        self.builder.seal(header, making.level, number)
    }

    /// Drops what has grown; gives how many events and bytes.
    pub(crate) fn abandon(&mut self) -> (u32, usize) {
        let builder = std::mem::take(&mut self.builder);
        (builder.events() as u32, builder.raw_bytes())
    }

    /// How it ended, by its own events.
    fn outcome(&self) -> ExecutionStatus {
        match &self.failure {
            Some(error) => ExecutionStatus::Failed { error: error.clone() },
            None => ExecutionStatus::Completed,
        }
    }
}

/// A name as long as a server takes.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::super::super::batch::Body;
    use super::*;
    use crate::wire::BatchFrame;

    fn header(batch: &Outgoing) -> BatchHeader {
        let Body::Frame(frame) = &batch.body else { panic!("no batch") };
        BatchFrame::decode(frame).unwrap().header
    }

    #[test]
    fn the_last_batch_tells_what_was_recorded_and_dropped() {
        let mut traces = Traces::default();
        let id = Uuid::now_v7();
        let making = Making { client_id: "c", codec: Codec::None, level: 0 };
        let seal = |traces: &mut Traces, events: usize| {
            (0..events).for_each(|_| traces.get(id).push(&TraceEvent::actor_created("a".into())).unwrap());
            let header = header(&traces.get(id).seal(id, &making, 0));
            (header.sequence, header.dropped)
        };
        assert_eq!(seal(&mut traces, 10), (0, 0));
        traces.book(HashMap::from([(id, Drops { events: 5, batched: 10 })]));
        assert_eq!(traces.unreported(), [id]);
        assert_eq!(seal(&mut traces, 3), (15, 15));
        assert!(traces.unreported().is_empty());
        assert_eq!(seal(&mut traces, 0), (18, 15));
    }

    #[test]
    fn a_trace_with_a_failure_ends_as_failed() {
        let mut traces = Traces::default();
        let id = Uuid::now_v7();
        traces.get(id).own = true;
        assert!(traces.open().is_empty());
        traces.get(id).started = true;
        assert_eq!(traces.open(), [(id, ExecutionStatus::Completed)]);
        traces.get(id).push(&TraceEvent::actor_failed("a".into(), "first".into())).unwrap();
        traces.get(id).push(&TraceEvent::actor_failed("a".into(), "second".into())).unwrap();
        assert_eq!(traces.open(), [(id, ExecutionStatus::Failed { error: "first".into() })]);
        traces.get(id).ended = true;
        assert!(traces.open().is_empty());
    }

    #[test]
    fn foreign_traces_are_forgotten_and_own_ones_are_not() {
        let mut traces = Traces::default();
        let own = Uuid::now_v7();
        traces.get(own).own = true;
        (0..3 * MAX_TRACES).for_each(|_| {
            traces.get(Uuid::new_v4());
        });
        assert!(traces.known.len() <= MAX_TRACES && traces.known.contains_key(&own));
    }
}
