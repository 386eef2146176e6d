//! The traces a client records: who they are, how many events they have, what was dropped; and their batches while they grow.
//!
//! Guarantee: `sequence` and `dropped` of the last batch of a trace tell how many events the client has recorded of it, and how many
//! of them it dropped. So a trace can say what is missing.
//!
//! Bounded: beyond 4,096 traces a quarter is forgotten, those that were ended or that others began before those of this client that are open,
//! the longest unused first. A forgotten trace that was open is not ended by a shutdown (a server sees that it is idle), and drops that
//! no batch had told of are only in the client's own figures. An event that comes late is counted from zero under a client id of its own,
//! `<id>.<n>`: a server that added it to the count before would find events missing, or doubled.

#[cfg(test)]
mod tests;
mod trace;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

pub(crate) use self::trace::{Flow, Making, Trace, cut};
use super::super::batch::{Builder, Outgoing};
use super::super::shared::Drops;
use crate::{ExecutionStatus, TraceEvent};

/// Traces that are known at a time.
const MAX_TRACES: usize = 4_096;
/// Traces whose batches grow at a time: those cannot be forgotten.
const MAX_GROWING: usize = MAX_TRACES / 4;
/// The emptied memory of a batch is kept for the next, one for all traces, if it is no larger.
const MAX_SPARE_BYTES: usize = 2 << 20;

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
