//! Per-minute rollups: counts of one flow, its actors and its edges in one minute of received time.
//!
//! All of a flow's minute is ONE row: a flow of ten actors and ten edges would otherwise be twenty-one rows that every commit reads
//! and writes. Guarantee: merging only adds and takes maxima, and what is over a limit is added to `other`, so that sums over a minute
//! do not depend on the order in which chunks came.

use std::collections::BTreeMap;

use prost::Message;
use reflow_tracing_chunk::{ActorStats, EdgeStats, Header, LeftOut, TimeStats};

use super::names::{OTHER, UNKNOWN_FLOW, key_text};
use crate::{Limits, RollupKind, RollupRow};

const MINUTE_US: i64 = 60_000_000;

/// Which rollup row. Backends with several writers add a writer slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RollupKey {
    pub tenant: String,
    /// Minutes since the epoch.
    pub minute: i64,
    pub flow_name: String,
}

impl RollupKey {
    pub fn of(header: &Header) -> Self {
        Self {
            tenant: key_text(&header.tenant).into_owned(),
            minute: minute_of(header.received_us),
            flow_name: key_text(header.flow_name.as_deref().unwrap_or(UNKNOWN_FLOW)).into_owned(),
        }
    }

    /// Where the row goes when the minute has too many flows.
    pub fn overflow(&self) -> Self {
        Self { flow_name: OTHER.to_owned(), ..self.clone() }
    }

    /// `_` and `other` are always kept apart.
    pub fn is_limited(&self) -> bool {
        self.flow_name != UNKNOWN_FLOW && self.flow_name != OTHER
    }
}

/// The minute a time is in.
pub(crate) fn minute_of(time_us: i64) -> i64 {
    time_us.div_euclid(MINUTE_US)
}

/// Start of a minute.
pub(crate) fn minute_start_us(minute: i64) -> i64 {
    minute.saturating_mul(MINUTE_US)
}

type EdgeKey = (String, String, String, String);

/// The counts of a rollup row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rollup {
    pub events: u64,
    pub failures: u64,
    pub bytes: u64,
    pub actors: BTreeMap<String, ActorStats>,
    pub edges: BTreeMap<EdgeKey, EdgeStats>,
}

/// Actors as they lie in a row.
#[derive(Clone, PartialEq, Message)]
struct ActorList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<ActorStats>,
}

/// Edges as they lie in a row.
#[derive(Clone, PartialEq, Message)]
struct EdgeList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<EdgeStats>,
}

impl Rollup {
    /// Adds one chunk. Without limits: what one batch brings is bounded by the batch.
    pub fn add_chunk(&mut self, header: &Header) {
        self.events += u64::from(header.event_count);
        self.failures += u64::from(header.failures);
        for actor in &header.actors {
            self.bytes = self.bytes.saturating_add(actor.bytes);
            match self.actors.get_mut(&actor.actor) {
                Some(mine) => add_actor(mine, actor),
                None => drop(self.actors.insert(actor.actor.clone(), actor.clone())),
            }
        }
        for edge in &header.edges {
            match self.edges.get_mut(&edge_key(edge)) {
                Some(mine) => add_edge(mine, edge),
                None => drop(self.edges.insert(edge_key(edge), edge.clone())),
            }
        }
    }

    /// Adds another row. Names beyond the limits go to `other`.
    pub fn merge(&mut self, theirs: &Self, limits: &Limits) {
        self.events = self.events.saturating_add(theirs.events);
        self.failures = self.failures.saturating_add(theirs.failures);
        self.bytes = self.bytes.saturating_add(theirs.bytes);
        for (name, actor) in &theirs.actors {
            let has_room = self.actors.len() < limits.actors_per_flow;
            match self.actors.get_mut(name) {
                Some(mine) => add_actor(mine, actor),
                None if has_room || name == OTHER => drop(self.actors.insert(name.clone(), actor.clone())),
                None => {
                    let other = || ActorStats { actor: OTHER.to_owned(), ..ActorStats::default() };
                    add_actor(self.actors.entry(OTHER.to_owned()).or_insert_with(other), actor);
                }
            }
        }
        for (key, edge) in &theirs.edges {
            let has_room = self.edges.len() < limits.edges_per_flow;
            match self.edges.get_mut(key) {
                Some(mine) => add_edge(mine, edge),
                None if has_room || *key == other_edge() => drop(self.edges.insert(key.clone(), edge.clone())),
                None => {
                    let (from_actor, from_port, to_actor, to_port) = other_edge();
                    let other = || EdgeStats { from_actor, from_port, to_actor, to_port, ..EdgeStats::default() };
                    add_edge(self.edges.entry(other_edge()).or_insert_with(other), edge);
                }
            }
        }
    }

    /// The actors column.
    pub fn actors_bytes(&self) -> Vec<u8> {
        ActorList { items: self.actors.values().cloned().collect() }.encode_to_vec()
    }

    /// The edges column.
    pub fn edges_bytes(&self) -> Vec<u8> {
        EdgeList { items: self.edges.values().cloned().collect() }.encode_to_vec()
    }

    /// Reads a row. Columns that were not asked for may be empty.
    pub fn read(counts: [u64; 3], actors: &[u8], edges: &[u8]) -> Result<Self, prost::DecodeError> {
        let [events, failures, bytes] = counts;
        let actors = ActorList::decode(actors)?.items.into_iter().map(|actor| (actor.actor.clone(), actor)).collect();
        let edges = EdgeList::decode(edges)?.items.into_iter().map(|edge| (edge_key(&edge), edge)).collect();
        Ok(Self { events, failures, bytes, actors, edges })
    }

    /// The rows of one kind that a reader sees.
    pub fn rows(self, kind: RollupKind, minute_us: i64, flow_name: &str) -> Vec<RollupRow> {
        let row = |count, failures, bytes, time: Option<TimeStats>, left_out: Option<LeftOut>| RollupRow {
            minute_us,
            flow_name: flow_name.to_owned(),
            actor: String::new(),
            from_port: String::new(),
            to_actor: String::new(),
            to_port: String::new(),
            count,
            failures,
            bytes,
            time: time.unwrap_or_default(),
            left_out: left_out.unwrap_or_default(),
        };
        match kind {
            RollupKind::Flow => {
                // Every event is an actor's.
                let mut all = ActorStats::default();
                self.actors.values().for_each(|actor| add_actor(&mut all, actor));
                vec![row(self.events, self.failures, self.bytes, all.time, all.left_out)]
            }
            RollupKind::Actor => self
                .actors
                .into_values()
                .map(|a| RollupRow { actor: a.actor, ..row(a.events, a.failures, a.bytes, a.time, a.left_out) })
                .collect(),
            RollupKind::Edge => self
                .edges
                .into_iter()
                .map(|((actor, from_port, to_actor, to_port), edge)| RollupRow {
                    actor,
                    from_port,
                    to_actor,
                    to_port,
                    ..row(edge.count, 0, edge.bytes, edge.time, edge.left_out)
                })
                .collect(),
        }
    }
}

/// Adds the counts of `theirs`, whatever its name.
pub(crate) fn add_actor(mine: &mut ActorStats, theirs: &ActorStats) {
    mine.events = mine.events.saturating_add(theirs.events);
    mine.failures = mine.failures.saturating_add(theirs.failures);
    mine.bytes = mine.bytes.saturating_add(theirs.bytes);
    mine.event_types |= theirs.event_types;
    LeftOut::merge_into(&mut mine.left_out, theirs.left_out.as_ref());
    if let Some(time) = &theirs.time {
        mine.time.get_or_insert_default().merge(time);
    }
}

fn add_edge(mine: &mut EdgeStats, theirs: &EdgeStats) {
    LeftOut::merge_into(&mut mine.left_out, theirs.left_out.as_ref());
    mine.count = mine.count.saturating_add(theirs.count);
    mine.bytes = mine.bytes.saturating_add(theirs.bytes);
    if let Some(time) = &theirs.time {
        mine.time.get_or_insert_default().merge(time);
    }
}

fn edge_key(edge: &EdgeStats) -> EdgeKey {
    (edge.from_actor.clone(), edge.from_port.clone(), edge.to_actor.clone(), edge.to_port.clone())
}

fn other_edge() -> EdgeKey {
    (OTHER.to_owned(), String::new(), OTHER.to_owned(), String::new())
}
