//! An event that waits, and how much memory it holds.

use serde_json::Value;
use uuid::Uuid;

use crate::{TraceEvent, TraceEventType};

/// What still has to be done to an event before it is written, in the background.
pub(crate) type Finish = Box<dyn FnOnce(&mut TraceEvent) + Send>;

/// An event that waits.
pub(crate) struct Entry {
    pub(crate) trace_id: Uuid,
    pub(crate) event: TraceEvent,
    /// Hashing of content and the like.
    pub(crate) finish: Option<Finish>,
    /// What it counts for in the buffer.
    pub(crate) bytes: usize,
}

impl Entry {
    pub(crate) fn new(trace_id: Uuid, event: TraceEvent, finish: Option<Finish>) -> Self {
        let bytes = size_of::<Self>() + held_bytes(&event);
        Self { trace_id, event, finish, bytes }
    }
}

/// Bytes of an event outside of the struct itself, nearly.
fn held_bytes(event: &TraceEvent) -> usize {
    let data = &event.data;
    let ports = match &event.event_type {
        TraceEventType::DataFlow { to_actor, to_port } => to_actor.len() + to_port.len(),
        _ => 0,
    };
    let message = data
        .message
        .as_ref()
        .map_or(0, |message| message.message_type.len() + message.checksum.len() + message.serialized_data.len());
    let state = data.state_diff.as_ref().map_or(0, |diff| diff.after.len() + diff.before.as_ref().map_or(0, Vec::len));
    let attributes: usize = data.custom_attributes.iter().map(|(key, value)| 64 + key.len() + value_bytes(value)).sum();
    event.actor_id.len()
        + ports
        + data.port.as_ref().map_or(0, String::len)
        + message
        + state
        + data.error.as_ref().map_or(0, String::len)
        + attributes
        + event.causality.dependency_chain.len() * size_of::<Uuid>()
        + event.causality.span_id.len()
}

fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(value_bytes).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| 64 + key.len() + value_bytes(value)).sum(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_content_counts() {
        let event = TraceEvent::actor_created("a".to_owned());
        let mut large = event.clone();
        large.data.custom_attributes.insert("k".into(), serde_json::json!([{"text": "x".repeat(10_000)}]));
        let bytes = |event| Entry::new(Uuid::nil(), event, None).bytes;
        assert!(bytes(large) > bytes(event) + 10_000);
    }
}
