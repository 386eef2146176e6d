//! How ids and events are made.

use reflow_tracing_protocol::{EventId, ExecutionId, FlowId, TraceEvent, TraceEventType, TraceId};
use uuid::Uuid;

#[test]
fn ids_are_made_and_read_as_before() {
    let _: [fn() -> TraceId; 2] = [TraceId::new, TraceId::default];
    let _: [fn() -> ExecutionId; 2] = [ExecutionId::new, ExecutionId::default];
    let _: [fn() -> EventId; 2] = [EventId::new, EventId::default];
    let id = Uuid::from_u128(7);
    let trace: fn(Uuid) -> TraceId = TraceId::from_uuid;
    let uuid: fn(&TraceId) -> &Uuid = TraceId::as_uuid;
    assert_eq!(uuid(&trace(id)), &id);
    let execution: fn(Uuid) -> ExecutionId = ExecutionId::from_uuid;
    let uuid: fn(&ExecutionId) -> &Uuid = ExecutionId::as_uuid;
    assert_eq!(uuid(&execution(id)), &id);
    let event: fn(Uuid) -> EventId = EventId::from_uuid;
    let uuid: fn(&EventId) -> &Uuid = EventId::as_uuid;
    assert_eq!(uuid(&event(id)), &id);
    assert_eq!(trace(id).to_string(), id.to_string());

    let _: fn(&'static str) -> FlowId = FlowId::new;
    let _: fn(String) -> FlowId = FlowId::new;
    let as_str: fn(&FlowId) -> &str = FlowId::as_str;
    assert_eq!(as_str(&FlowId::new("flow")), "flow");
    assert_eq!(FlowId::new("flow").to_string(), "flow");
}

#[test]
fn events_are_made_as_before() {
    let one: [fn(String) -> TraceEvent; 2] = [TraceEvent::actor_created, TraceEvent::actor_completed];
    let failed: fn(String, String) -> TraceEvent = TraceEvent::actor_failed;
    let sent: fn(String, String, String, usize) -> TraceEvent = TraceEvent::message_sent;
    let flow: fn(String, String, String, String, String, usize) -> TraceEvent = TraceEvent::data_flow;
    let text = |text: &str| text.to_owned();

    assert_eq!(one[0](text("a")).event_type, TraceEventType::ActorCreated);
    assert_eq!(one[1](text("a")).event_type, TraceEventType::ActorCompleted);
    assert_eq!(failed(text("a"), text("no")).data.error.as_deref(), Some("no"));
    let message = sent(text("a"), text("out"), text("T"), 3).data.message.unwrap();
    assert_eq!((message.message_type.as_str(), message.size_bytes, message.checksum.as_str()), ("T", 3, ""));
    let event = flow(text("a"), text("out"), text("b"), text("in"), text("T"), 3);
    assert_eq!(event.event_type, TraceEventType::DataFlow { to_actor: text("b"), to_port: text("in") });
    assert_eq!((event.actor_id.as_str(), event.data.port.as_deref()), ("a", Some("out")));
    assert!(event.causality.parent_event_id.is_none() && !event.causality.span_id.is_empty());
}
