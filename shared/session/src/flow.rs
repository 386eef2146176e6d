//! Which flow a trace belongs to, as a session knows it.

use std::collections::HashMap;

use moka::sync::Cache;
use reflow_tracing_bus::TraceEntry;
use reflow_tracing_chunk::{FlowNaming, Header, sanitize_name};
use uuid::Uuid;

use crate::capabilities::Shared;

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

/// Flows of traces that the viewers of this process have seen named. A collector that does not know a trace's flow publishes it
/// under none; whoever looks at that flow has seen its start pass, or reads it in history.
#[derive(Clone)]
pub(crate) struct SeenFlows(Cache<Uuid, Flow>);

/// Some tens of megabytes; the least useful go first, and cost a question to the directory.
const MAX_SEEN: u64 = 65_536;

impl Default for SeenFlows {
    fn default() -> Self {
        Self(Cache::new(MAX_SEEN))
    }
}

impl SeenFlows {
    /// The flow of a chunk: what it says, what another of its trace said, or what the directory knows.
    pub(crate) async fn find(&self, shared: &Shared, header: &Header) -> Option<Flow> {
        let trace_id = header.trace_uuid();
        if let Some(flow) = Flow::of(header) {
            self.0.insert(trace_id, flow.clone());
            return Some(flow);
        }
        match self.0.get(&trace_id) {
            Some(flow) => Some(flow),
            None => Flow::find(shared, trace_id).await,
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
