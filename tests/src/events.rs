//! Trace events in JSON, as the published constructors of `reflow_tracing_protocol` 0.2.1 make them.
//!
//! Nothing measured, no parents, a root cause of its own, an empty checksum: that is what real programs send. The ids
//! come from the caller or are random; tests that count look at ids, never at lengths.

use chrono::{DateTime, SecondsFormat, Utc};
use rand::{RngExt, distr::Alphanumeric};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What a real `reflow_network` 0.2.1 program calls the type of every message, whatever it is.
pub const MESSAGE_TYPE: &str = "Discriminant(5)";

/// An event without data: `ActorCreated`, `ActorStarted`, `ActorCompleted`, `NetworkEvent` and so on.
#[must_use]
pub fn plain(kind: &str, actor: &str) -> Value {
    build(json!(kind), actor, Value::Null, Value::Null, Value::Null)
}

/// As `TraceEvent::actor_created` makes it.
#[must_use]
pub fn actor_created(actor: &str) -> Value {
    plain("ActorCreated", actor)
}

/// As `TraceEvent::actor_completed` makes it.
#[must_use]
pub fn actor_completed(actor: &str) -> Value {
    plain("ActorCompleted", actor)
}

/// As `TraceEvent::actor_failed` makes it.
#[must_use]
pub fn actor_failed(actor: &str, error: &str) -> Value {
    build(json!("ActorFailed"), actor, Value::Null, Value::Null, json!(error))
}

/// As `TraceEvent::message_sent` makes it.
#[must_use]
pub fn message_sent(actor: &str, port: &str) -> Value {
    build(json!("MessageSent"), actor, json!(port), message(), Value::Null)
}

/// As `TraceEvent::data_flow` makes it: the large one, about 620 bytes.
#[must_use]
pub fn data_flow(actor: &str, port: &str, to_actor: &str, to_port: &str) -> Value {
    let kind = json!({"DataFlow": {"to_actor": to_actor, "to_port": to_port}});
    build(kind, actor, json!(port), message(), Value::Null)
}

/// An event of about so many bytes that hardly compress: a text of random letters among its attributes.
#[must_use]
pub fn large(bytes: usize) -> Value {
    let mut event = actor_completed("large");
    let letters = rand::rng().sample_iter(Alphanumeric).take(bytes).map(char::from);
    event["data"]["custom_attributes"] = json!({"blob": letters.collect::<String>()});
    event
}

/// The same event at another time.
#[must_use]
pub fn at(mut event: Value, time: DateTime<Utc>) -> Value {
    event["timestamp"] = json!(time.to_rfc3339_opts(SecondsFormat::Nanos, true));
    event
}

/// The same event with measured figures, as newer programs send them; what is `None` was not measured.
#[must_use]
pub fn measured(mut event: Value, execution_time_ns: Option<u64>, memory_usage_bytes: Option<u64>) -> Value {
    event["data"]["performance_metrics"] = json!({
        "execution_time_ns": execution_time_ns,
        "memory_usage_bytes": memory_usage_bytes,
        "cpu_usage_percent": null,
        "queue_depth": null,
        "throughput_msgs_per_sec": null,
    });
    event
}

/// The event's id.
#[must_use]
pub fn id(event: &Value) -> &str {
    event["event_id"].as_str().unwrap_or_default()
}

/// What a small program does, in its order: three actors are made, then each message is passed from `generator` over
/// `transformer` to `sink`. `count` events, about half of them `DataFlow`.
#[must_use]
pub fn program(count: usize) -> Vec<Value> {
    let actors = ["generator", "transformer", "sink"];
    let created = actors.iter().map(|actor| actor_created(actor));
    let passing = (0_usize..).flat_map(|step| {
        let (from, to) = if step % 2 == 0 { ("generator", "transformer") } else { ("transformer", "sink") };
        [message_sent(from, "out"), data_flow(from, "out", to, "in"), actor_completed(to)]
    });
    created.chain(passing).take(count).collect()
}

fn message() -> Value {
    json!({"message_type": MESSAGE_TYPE, "size_bytes": 24, "checksum": "", "serialized_data": []})
}

fn build(kind: Value, actor: &str, port: Value, message: Value, error: Value) -> Value {
    json!({
        "event_id": Uuid::new_v4(),
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
        "event_type": kind,
        "actor_id": actor,
        "data": {
            "port": port,
            "message": message,
            "state_diff": null,
            "error": error,
            "performance_metrics": {
                "execution_time_ns": 0,
                "memory_usage_bytes": 0,
                "cpu_usage_percent": 0.0,
                "queue_depth": 0,
                "throughput_msgs_per_sec": 0.0,
            },
            "custom_attributes": Map::new(),
        },
        "causality": {
            "parent_event_id": null,
            "root_cause_event_id": Uuid::new_v4(),
            "dependency_chain": [],
            "span_id": Uuid::new_v4().to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_flow_is_as_large_as_a_published_one() {
        let event = data_flow("generator", "out", "transformer", "in");
        let bytes = event.to_string().len();
        assert!((600..=680).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn a_program_makes_its_actors_first_and_every_event_once() {
        let events = program(100);
        assert_eq!(events.len(), 100);
        assert!(events[..3].iter().all(|event| event["event_type"] == "ActorCreated"));
        let ids: std::collections::HashSet<&str> = events.iter().map(id).collect();
        assert_eq!(ids.len(), 100);
    }
}
