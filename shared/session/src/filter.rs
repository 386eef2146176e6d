//! Which live events a subscriber gets.

use std::collections::HashSet;

use reflow_tracing_bus::TailFilter;
use reflow_tracing_chunk::{EventKind, Header, KindSet, sanitize_name, sanitize_status};
use reflow_tracing_protocol::wire::{Event, EventType};
use reflow_tracing_protocol::{ExecutionStatus, SubscriptionFilters, TraceEventType};

use crate::flow::Flow;

/// Matches `*` in `to_actor` and `to_port` of `DataFlow`.
const ANY: &str = "*";

/// A subscription's filters, made ready. An empty list matches nothing; an absent one everything.
#[derive(Clone, Debug)]
pub(crate) struct EventFilter {
    flows: Option<HashSet<String>>,
    actors: Option<HashSet<String>>,
    types: Option<Vec<TraceEventType>>,
    kinds: KindSet,
    statuses: Option<Vec<ExecutionStatus>>,
}

impl EventFilter {
    pub(crate) fn new(filters: SubscriptionFilters) -> Self {
        let names = |names: Vec<String>| names.iter().map(|name| sanitize_name(name).into_owned()).collect();
        Self {
            flows: filters.flow_ids.map(|ids| names(ids.into_iter().map(|id| id.0).collect())),
            actors: filters.actor_ids.map(names),
            kinds: filters.event_types.iter().flatten().map(kind).collect(),
            types: filters.event_types,
            statuses: filters.status_filter.map(|statuses| statuses.into_iter().map(sanitize_status).collect()),
        }
    }

    /// What the bus can narrow by.
    pub(crate) fn on_bus(&self, tenant: &str) -> TailFilter {
        let flows = self.flows.as_ref().map(|flows| flows.iter().cloned().collect());
        TailFilter { tenant: tenant.to_owned(), flows }
    }

    /// Whether the filter asks for flows, so that a chunk's flow must be known.
    pub(crate) fn by_flow(&self) -> bool {
        self.flows.is_some()
    }

    /// Whether the filter asks for statuses.
    pub(crate) fn by_status(&self) -> bool {
        self.statuses.is_some()
    }

    /// Whether any event of the chunk can match; the payload need not be opened when not.
    pub(crate) fn header(&self, header: &Header, flow: Option<&Flow>) -> bool {
        let by_flow = self
            .flows
            .as_ref()
            .is_none_or(|wanted| flow.is_some_and(|flow| wanted.contains(&flow.id) || wanted.contains(&flow.name)));
        let by_kind = self.types.is_none() || self.kinds.intersects(KindSet(header.event_types));
        let by_actor =
            self.actors.as_ref().is_none_or(|wanted| header.actors.iter().any(|stats| wanted.contains(&stats.actor)));
        by_flow && by_kind && by_actor
    }

    /// Whether events must be looked at one by one.
    pub(crate) fn by_event(&self) -> bool {
        self.types.is_some() || self.actors.is_some()
    }

    /// Whether an event matches, given that its chunk does.
    pub(crate) fn event(&self, event: &Event<'_>) -> bool {
        let by_actor = self.actors.as_ref().is_none_or(|wanted| wanted.contains(&*sanitize_name(&event.actor_id)));
        let by_type = self
            .types
            .as_ref()
            .is_none_or(|wanted| wanted.iter().any(|wanted| type_matches(wanted, &event.event_type)));
        by_actor && by_type
    }

    /// Whether a status matches. `Failed` with an empty error matches any failure.
    pub(crate) fn status(&self, status: &ExecutionStatus) -> bool {
        self.statuses.as_ref().is_none_or(|wanted| {
            wanted.iter().any(|wanted| match (wanted, status) {
                (ExecutionStatus::Failed { error }, ExecutionStatus::Failed { .. }) if error.is_empty() => true,
                (wanted, status) => wanted == status,
            })
        })
    }
}

fn type_matches(wanted: &TraceEventType, found: &EventType<'_>) -> bool {
    match (wanted, found) {
        (TraceEventType::DataFlow { to_actor, to_port }, EventType::DataFlow { to_actor: actor, to_port: port }) => {
            (to_actor == ANY || *to_actor == **actor) && (to_port == ANY || *to_port == **port)
        }
        (wanted, found) => kind(wanted) == EventKind::from(found),
    }
}

fn kind(event_type: &TraceEventType) -> EventKind {
    match event_type {
        TraceEventType::ActorCreated => EventKind::ActorCreated,
        TraceEventType::ActorStarted => EventKind::ActorStarted,
        TraceEventType::ActorCompleted => EventKind::ActorCompleted,
        TraceEventType::ActorFailed => EventKind::ActorFailed,
        TraceEventType::MessageSent => EventKind::MessageSent,
        TraceEventType::MessageReceived => EventKind::MessageReceived,
        TraceEventType::StateChanged => EventKind::StateChanged,
        TraceEventType::PortConnected => EventKind::PortConnected,
        TraceEventType::PortDisconnected => EventKind::PortDisconnected,
        TraceEventType::DataFlow { .. } => EventKind::DataFlow,
        TraceEventType::NetworkEvent => EventKind::NetworkEvent,
    }
}
