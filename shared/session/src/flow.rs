//! Which flow a trace belongs to, as a session knows it.

use std::collections::{HashMap, HashSet};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use reflow_tracing_bus::TraceEntry;
use reflow_tracing_chunk::{FlowNaming, Header, sanitize_name};
use uuid::Uuid;

use crate::ask::Ask;
use crate::capabilities::Shared;
use crate::look_up::{LIFETIME, look_up};

/// A flow id and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Flow {
    /// `name` is what the client wants it grouped by; without, the flow id decides.
    pub(crate) fn new(flow_id: &str, name: Option<&str>, naming: FlowNaming) -> Self {
        let id = sanitize_name(flow_id).into_owned();
        let name = match name {
            Some(name) if !name.is_empty() => sanitize_name(name).into_owned(),
            _ => naming.name_of(&id).to_owned(),
        };
        Self { id, name }
    }

    /// Asks the directory that the collectors share.
    pub(crate) async fn find(shared: &Shared, trace_id: Uuid) -> Option<Self> {
        let entry = shared.capabilities.directory.get(&shared.limits.tenant, trace_id).await?;
        Some(Self { id: entry.flow_id, name: entry.flow_name })
    }

    /// Tells the directory, so that the rest of the trace is known through whichever collector it comes.
    pub(crate) async fn tell(&self, shared: &Shared, trace_id: Uuid) {
        let entry = TraceEntry { flow_id: self.id.clone(), flow_name: self.name.clone(), trace_id: None };
        shared.capabilities.directory.put(&shared.limits.tenant, trace_id, entry).await;
    }

    /// What a chunk says itself.
    pub(crate) fn of(header: &Header) -> Option<Self> {
        Some(Self { id: header.flow_id.clone()?, name: header.flow_name.clone()? })
    }

    pub(crate) fn fill(&self, header: &mut Header) {
        header.flow_id = Some(self.id.clone());
        header.flow_name = Some(self.name.clone());
    }
}

/// Flows of traces, for the viewers of this process. A collector that does not know a trace's flow publishes it under none; whoever
/// looks at that flow has seen it named, or asks.
#[derive(Clone)]
pub(crate) struct SeenFlows {
    known: Cache<Uuid, Flow>,
    /// Nobody knew, a moment ago.
    unknown: Cache<Uuid, ()>,
}

/// Some tens of megabytes; those that have not been asked for the longest go first, and cost a question.
const MAX_SEEN: u64 = 65_536;

impl Default for SeenFlows {
    fn default() -> Self {
        let known = Cache::builder().max_capacity(MAX_SEEN).eviction_policy(EvictionPolicy::lru()).build();
        let unknown = Cache::builder().max_capacity(MAX_SEEN).time_to_live(LIFETIME).build();
        Self { known, unknown }
    }
}

impl SeenFlows {
    /// The flow of a chunk's trace, if it has been learned.
    pub(crate) fn of(&self, header: &Header) -> Option<Flow> {
        Flow::of(header).or_else(|| self.known.get(&header.trace_uuid()))
    }

    /// Learns the flows of these chunks' traces: what they say themselves, what the directory knows, and then, by one question, what
    /// history does.
    pub(crate) async fn learn(&self, shared: &Shared, headers: impl Iterator<Item = &Header>) {
        let mut unnamed = HashSet::new();
        for header in headers {
            let trace_id = header.trace_uuid();
            match Flow::of(header) {
                Some(flow) => self.known.insert(trace_id, flow),
                None => drop(unnamed.insert(trace_id)),
            }
        }
        unnamed.retain(|id| !self.known.contains_key(id) && !self.unknown.contains_key(id));
        let mut trace_ids = Vec::new();
        for id in unnamed {
            match Flow::find(shared, id).await {
                Some(flow) => self.known.insert(id, flow),
                None => trace_ids.push(id),
            }
        }
        if trace_ids.is_empty() {
            return;
        }
        let told: Vec<(Uuid, String, String)> = look_up(shared, Ask::Flows { trace_ids: trace_ids.clone() }).await;
        for (trace_id, id, name) in told {
            self.known.insert(trace_id, Flow { id, name });
        }
        // Only now: another viewer of the same chunk asks for himself, and is not told that nobody knows while nobody has answered.
        for id in trace_ids.into_iter().filter(|id| !self.known.contains_key(id)) {
            self.unknown.insert(id, ());
        }
    }
}

/// The flows of a session's traces. `None` inside: the directory was asked and did not know.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    known: HashMap<Uuid, Option<Flow>>,
}

/// Forgetting costs a question to the directory, no more.
const MAX_KNOWN: usize = 4_096;

impl Flows {
    pub(crate) fn get(&self, trace_id: Uuid) -> Option<Option<Flow>> {
        self.known.get(&trace_id).cloned()
    }

    pub(crate) fn learn(&mut self, trace_id: Uuid, flow: Option<Flow>) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&trace_id) {
            self.known.clear();
        }
        // What a client told stands against what the directory did not know.
        let slot = self.known.entry(trace_id).or_default();
        if flow.is_some() {
            *slot = flow;
        }
    }
}
