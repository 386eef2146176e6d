//! Events, as published, and their constructors.

use std::collections::HashMap;

use crate::{EventId, span};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How the message type begins that `reflow_network` 0.2.1 passes: `Discriminant(5)`. Beside it no size is a measurement.
const UNMEASURED_TYPE: &str = "Discriminant(";

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Identifies the event.
    pub event_id: EventId,
    /// When it happened, by the program's clock.
    pub timestamp: DateTime<Utc>,
    /// What happened.
    pub event_type: TraceEventType,
    /// To whom. The sender in `DataFlow`.
    pub actor_id: String,
    /// Details.
    pub data: TraceEventData,
    /// What led to it.
    pub causality: CausalityInfo,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub enum TraceEventType {
    /// An actor was created.
    ActorCreated,
    /// An actor began to work.
    ActorStarted,
    /// An actor finished its work.
    ActorCompleted,
    /// An actor failed.
    ActorFailed,
    /// A message left an out-port.
    MessageSent,
    /// A message reached an in-port.
    MessageReceived,
    /// An actor's state changed.
    StateChanged,
    /// A port was connected.
    PortConnected,
    /// A port was disconnected.
    PortDisconnected,
    /// A message flowed along a connection.
    DataFlow {
        /// The receiver.
        to_actor: String,
        /// Its in-port.
        to_port: String,
    },
    /// Something happened to the network.
    NetworkEvent,
}

/// Details of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceEventData {
    /// The port it happened at.
    pub port: Option<String>,
    /// The message.
    pub message: Option<MessageSnapshot>,
    /// The state's change.
    pub state_diff: Option<StateDiff>,
    /// The error.
    pub error: Option<String>,
    /// Figures. All zero means that nothing was measured.
    pub performance_metrics: PerformanceMetrics,
    /// Anything else.
    pub custom_attributes: HashMap<String, serde_json::Value>,
}

/// A message as it passed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageSnapshot {
    /// Its type.
    pub message_type: String,
    /// Its size, bytes.
    pub size_bytes: usize,
    /// Checksum of its content; empty when not taken.
    pub checksum: String,
    /// Its content; empty when not captured.
    pub serialized_data: Vec<u8>,
}

/// A change of state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateDiff {
    /// Before, serialised.
    pub before: Option<Vec<u8>>,
    /// After, serialised.
    pub after: Vec<u8>,
    /// How to read the two.
    pub diff_type: StateDiffType,
}

/// How to read a [`StateDiff`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum StateDiffType {
    /// Whole states.
    Full,
    /// What changed.
    Incremental,
    /// Not to be kept.
    MemoryOnly,
}

/// Figures of an event.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PerformanceMetrics {
    /// Execution time, ns.
    pub execution_time_ns: u64,
    /// Memory in use, bytes.
    pub memory_usage_bytes: usize,
    /// Processor, percent.
    pub cpu_usage_percent: f32,
    /// Messages waiting.
    pub queue_depth: usize,
    /// Messages a second.
    pub throughput_msgs_per_sec: f64,
}

/// What led to an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CausalityInfo {
    /// The event that directly led to it.
    pub parent_event_id: Option<EventId>,
    /// The event at the root.
    pub root_cause_event_id: EventId,
    /// Events in between.
    pub dependency_chain: Vec<EventId>,
    /// Span in another tracing system.
    pub span_id: String,
}

impl TraceEvent {
    /// An actor was created.
    pub fn actor_created(actor_id: String) -> Self {
        Self::of(TraceEventType::ActorCreated, actor_id)
    }

    /// A message flowed along a connection.
    pub fn data_flow(
        from_actor: String,
        from_port: String,
        to_actor: String,
        to_port: String,
        message_type: String,
        size_bytes: usize,
    ) -> Self {
        let event_type = TraceEventType::DataFlow { to_actor, to_port };
        Self::of(event_type, from_actor).with_message(from_port, message_type, size_bytes)
    }

    /// A message left an out-port.
    pub fn message_sent(actor_id: String, port: String, message_type: String, size_bytes: usize) -> Self {
        Self::of(TraceEventType::MessageSent, actor_id).with_message(port, message_type, size_bytes)
    }

    /// An actor finished its work.
    pub fn actor_completed(actor_id: String) -> Self {
        Self::of(TraceEventType::ActorCompleted, actor_id)
    }

    /// An actor failed.
    pub fn actor_failed(actor_id: String, error: String) -> Self {
        let mut event = Self::of(TraceEventType::ActorFailed, actor_id);
        event.data.error = Some(error);
        event
    }

    /// Any event. Nothing is known of what led to it, so it is its own root.
    pub fn of(event_type: TraceEventType, actor_id: String) -> Self {
        let event_id = EventId::new();
        Self {
            timestamp: Utc::now(),
            event_type,
            actor_id,
            data: TraceEventData {
                port: None,
                message: None,
                state_diff: None,
                error: None,
                performance_metrics: PerformanceMetrics::default(),
                custom_attributes: HashMap::new(),
            },
            causality: CausalityInfo {
                parent_event_id: None,
                root_cause_event_id: event_id.clone(),
                dependency_chain: Vec::new(),
                span_id: span::current(),
            },
            event_id,
        }
    }

    fn with_message(mut self, port: String, message_type: String, size_bytes: usize) -> Self {
        // A discriminant is all that its caller knew of the message: the size beside it is that of an enum.
        let size_bytes = if message_type.starts_with(UNMEASURED_TYPE) { 0 } else { size_bytes };
        self.data.port = Some(port);
        self.data.message =
            Some(MessageSnapshot { message_type, size_bytes, checksum: String::new(), serialized_data: Vec::new() });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_which_nothing_is_known_is_its_own_root() {
        let event = TraceEvent::actor_created("a".into());
        assert_eq!(event.causality.root_cause_event_id, event.event_id);
        assert_eq!(event.causality.parent_event_id, None);
        assert!(event.causality.dependency_chain.is_empty());
    }

    #[test]
    fn the_size_beside_a_discriminant_is_not_kept() {
        let size = |message_type: &str| {
            let event = TraceEvent::message_sent("a".into(), "out".into(), message_type.into(), 40);
            event.data.message.map(|message| (message.size_bytes, message.checksum))
        };
        assert_eq!(size("Discriminant(5)"), Some((0, String::new())));
        assert_eq!(size("Text"), Some((40, String::new())));
    }
}
