//! The traces a client records: who they are, how many events they have, what was dropped; and their batches while they grow.
//!
//! Guarantee: `sequence` and `dropped` of the last batch of a trace tell how many events the client has recorded of it, and how many
//! of them it dropped. So a trace can say what is missing.
//!
//! Bounded: beyond 4,096 traces a quarter is forgotten, those that were ended or that others began before those of this client that are open,
//! the longest unused first. A forgotten trace that was open is not ended by a shutdown (a server sees that it is idle), and drops that
//! no batch had told of are only in the client's own figures. An event that comes late is counted from zero under a client id of its own,
//! `<id>.<n>`: a server that added it to the count before would find events missing, or doubled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::super::batch::{Builder, Outgoing};
use super::super::shared::Drops;
use crate::codec::Codec;
use crate::wire::BatchHeader;
use crate::{ExecutionStatus, TraceEvent, TraceEventType};

/// Traces that are known at a time.
const MAX_TRACES: usize = 4_096;
/// Traces whose batches grow at a time: those cannot be forgotten.
const MAX_GROWING: usize = MAX_TRACES / 4;
/// The emptied memory of a batch is kept for the next, one for all traces, if it is no larger.
const MAX_SPARE_BYTES: usize = 2 << 20;
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
    builder: Builder,
    /// When it was last looked at, in looks.
    used: u64,
    /// Under which of the client's ids it is counted.
    generation: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Traces {
    known: HashMap<Uuid, Trace>,
    /// Those whose batch grows.
    growing: HashSet<Uuid>,
    /// Those whose drops the server has not heard of.
    unreported: HashSet<Uuid>,
    spare: Vec<u8>,
    looks: u64,
    /// Of traces that are new from here on.
    generation: u64,
    /// The next of this client, whichever background counts.
    generations: Arc<AtomicU64>,
}

impl Traces {
    pub(crate) fn new(generations: Arc<AtomicU64>) -> Self {
        Self {
            known: HashMap::new(),
            growing: HashSet::new(),
            unreported: HashSet::new(),
            spare: Vec::new(),
            looks: 0,
            generation: generations.fetch_add(1, Ordering::Relaxed),
            generations,
        }
    }

    pub(crate) fn get(&mut self, trace_id: Uuid) -> &mut Trace {
        if self.known.len() >= MAX_TRACES && !self.known.contains_key(&trace_id) {
            self.forget();
        }
        self.looks += 1;
        let fresh = || Trace { generation: self.generation, ..Trace::default() };
        let trace = self.known.entry(trace_id).or_insert_with(fresh);
        trace.used = self.looks;
        trace
    }

    /// Makes room for others.
    fn forget(&mut self) {
        let idle = self.known.iter().filter(|(id, _)| !self.growing.contains(id));
        let worth = |id: &Uuid, trace: &Trace| (trace.own && !trace.ended) || self.unreported.contains(id);
        let mut idle: Vec<_> = idle.map(|(id, trace)| (worth(id, trace), trace.used, *id)).collect();
        idle.sort_unstable();
        for (_, _, trace_id) in idle.into_iter().take(MAX_TRACES / 4) {
            self.known.remove(&trace_id);
            self.unreported.remove(&trace_id);
        }
        self.generation = self.generations.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an event to the batch that grows; gives by how many bytes.
    pub(crate) fn push(&mut self, trace_id: Uuid, event: &TraceEvent) -> Result<usize, serde_json::Error> {
        let mut spare = std::mem::take(&mut self.spare);
        let trace = self.get(trace_id);
        let first = trace.events() == 0;
        if first {
            trace.builder.swap_memory(&mut spare);
        }
        let before = trace.raw_bytes();
        let pushed = trace.push(event).map(|()| trace.raw_bytes() - before);
        if first && pushed.is_err() {
            trace.builder.swap_memory(&mut spare);
        }
        self.spare = spare;
        if first && pushed.is_ok() {
            self.growing.insert(trace_id);
        }
        pushed
    }

    /// Makes a batch of what has grown; an empty one only tells the counts.
    pub(crate) fn seal(&mut self, trace_id: Uuid, making: &Making<'_>, number: u64) -> Outgoing {
        let mut spare = std::mem::take(&mut self.spare);
        let trace = self.get(trace_id);
        let batch = trace.seal(trace_id, making, number);
        if trace.builder.capacity() > spare.capacity() && trace.builder.capacity() <= MAX_SPARE_BYTES {
            trace.builder.swap_memory(&mut spare);
        }
        trace.builder = Builder::default();
        self.spare = spare;
        self.growing.remove(&trace_id);
        self.unreported.remove(&trace_id);
        batch
    }

    /// Drops what has grown; gives of which trace, how many events and how many bytes.
    pub(crate) fn abandon(&mut self) -> Vec<(Uuid, u32, usize)> {
        let growing = std::mem::take(&mut self.growing);
        let abandoned = |trace_id| {
            let builder = std::mem::take(&mut self.known.get_mut(&trace_id)?.builder);
            Some((trace_id, builder.events() as u32, builder.raw_bytes()))
        };
        growing.into_iter().filter_map(abandoned).collect()
    }

    /// Books what was dropped elsewhere.
    pub(crate) fn book(&mut self, drops: HashMap<Uuid, Drops>) {
        for (trace_id, drops) in drops {
            let trace = self.get(trace_id);
            trace.counted += drops.events;
            trace.dropped += drops.events + drops.batched;
            self.unreported.insert(trace_id);
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
        self.growing.iter().copied().collect()
    }

    /// Whether so many batches grow that they are to be sealed before another begins.
    pub(crate) fn is_crowded(&self) -> bool {
        self.growing.len() >= MAX_GROWING
    }

    /// The traces whose drops the server has not heard of.
    pub(crate) fn unreported(&self) -> Vec<Uuid> {
        self.unreported.iter().copied().collect()
    }
}

impl Trace {
    fn push(&mut self, event: &TraceEvent) -> Result<(), serde_json::Error> {
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

    fn seal(&mut self, trace_id: Uuid, making: &Making<'_>, number: u64) -> Outgoing {
        let client_id = match self.generation {
            0 => making.client_id.to_owned(),
            generation => format!("{}.{generation}", making.client_id),
        };
        let header = BatchHeader {
            batch_id: Uuid::now_v7(),
            trace_id,
            flow_id: self.flow.id.clone(),
            flow_name: self.flow.name.clone(),
            client_id,
            sequence: self.counted,
            dropped: self.dropped,
            codec: making.codec,
            raw_size: 0,
        };
        self.counted += self.builder.events() as u64;
        self.builder.seal(header, making.level, number)
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

    const MAKING: Making<'_> = Making { client_id: "c", codec: Codec::None, level: 0 };

    fn traces() -> Traces {
        Traces::new(Arc::default())
    }

    fn push(traces: &mut Traces, trace_id: Uuid) {
        traces.push(trace_id, &TraceEvent::actor_created("a".into())).unwrap();
    }

    /// Whose batch it is, and what it tells of the events before it.
    fn seal(traces: &mut Traces, trace_id: Uuid) -> (String, u64, u64) {
        let Body::Frame(frame) = traces.seal(trace_id, &MAKING, 0).body else { panic!("no batch") };
        let header = BatchFrame::decode(&frame).unwrap().header;
        (header.client_id, header.sequence, header.dropped)
    }

    #[test]
    fn the_last_batch_tells_what_was_recorded_and_dropped() {
        let mut traces = traces();
        let id = Uuid::now_v7();
        let sealed = |traces: &mut Traces, events: usize| {
            (0..events).for_each(|_| push(traces, id));
            let (_, sequence, dropped) = seal(traces, id);
            (sequence, dropped)
        };
        assert_eq!(sealed(&mut traces, 10), (0, 0));
        traces.book(HashMap::from([(id, Drops { events: 5, batched: 10 })]));
        assert_eq!(traces.unreported(), [id]);
        assert_eq!(sealed(&mut traces, 3), (15, 15));
        assert!(traces.unreported().is_empty());
        assert_eq!(sealed(&mut traces, 0), (18, 15));
    }

    #[test]
    fn a_trace_with_a_failure_ends_as_failed() {
        let mut traces = traces();
        let id = Uuid::now_v7();
        traces.get(id).own = true;
        assert!(traces.open().is_empty());
        traces.get(id).started = true;
        assert_eq!(traces.open(), [(id, ExecutionStatus::Completed)]);
        traces.push(id, &TraceEvent::actor_failed("a".into(), "first".into())).unwrap();
        traces.push(id, &TraceEvent::actor_failed("a".into(), "second".into())).unwrap();
        assert_eq!(traces.open(), [(id, ExecutionStatus::Failed { error: "first".into() })]);
        traces.get(id).ended = true;
        assert!(traces.open().is_empty());
    }

    #[test]
    fn whatever_traces_there_are_they_are_bounded_and_open_ones_are_kept_longest() {
        let mut traces = traces();
        let (open, growing) = (Uuid::now_v7(), Uuid::now_v7());
        traces.get(open).own = true;
        push(&mut traces, growing);
        for _ in 0..3 * MAX_TRACES {
            let ended = Uuid::new_v4();
            let trace = traces.get(ended);
            (trace.own, trace.ended) = (true, true);
        }
        assert!(traces.known.len() <= MAX_TRACES && traces.known.contains_key(&open));
        for _ in 0..3 * MAX_TRACES {
            traces.get(Uuid::new_v4()).own = true;
        }
        assert!(traces.known.len() <= MAX_TRACES && !traces.known.contains_key(&open));
        assert_eq!(traces.growing_ids(), [growing]);
        assert_eq!(traces.abandon().len(), 1);
    }

    #[test]
    fn a_trace_in_use_is_not_forgotten_for_idle_ones() {
        let mut traces = traces();
        let id = Uuid::now_v7();
        for _ in 0..3 * MAX_TRACES {
            push(&mut traces, id);
            seal(&mut traces, id);
            traces.get(Uuid::new_v4());
        }
        assert_eq!(seal(&mut traces, id), ("c".to_owned(), 3 * MAX_TRACES as u64, 0));
    }

    #[test]
    fn an_event_that_comes_late_to_a_forgotten_trace_is_counted_apart() {
        let generations = Arc::<AtomicU64>::default();
        let mut traces = Traces::new(Arc::clone(&generations));
        let id = Uuid::now_v7();
        push(&mut traces, id);
        assert_eq!(seal(&mut traces, id), ("c".to_owned(), 0, 0));
        (0..MAX_TRACES).for_each(|_| {
            traces.get(Uuid::new_v4());
        });
        push(&mut traces, id);
        assert_eq!(seal(&mut traces, id), ("c.1".to_owned(), 0, 0));
        push(&mut traces, id);
        assert_eq!(seal(&mut traces, id), ("c.1".to_owned(), 1, 0));
        // So is one that comes to another background of the same client.
        let mut next = Traces::new(generations);
        push(&mut next, id);
        assert_eq!(seal(&mut next, id), ("c.2".to_owned(), 0, 0));
    }

    #[test]
    fn a_trace_keeps_no_memory_of_the_batches_it_has_made() {
        let mut traces = traces();
        for _ in 0..100 {
            let id = Uuid::new_v4();
            (0..1_000).for_each(|_| push(&mut traces, id));
            seal(&mut traces, id);
        }
        let kept: usize = traces.known.values().map(|trace| trace.builder.capacity()).sum();
        assert!(kept == 0 && (1..=MAX_SPARE_BYTES).contains(&traces.spare.capacity()), "{kept}");
    }
}
