//! Live subscriptions and their filters.

use std::time::Duration;

use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Client, Fixture, event, large_event, record, recorded, start};

async fn subscribe(client: &mut Client, filters: Value) {
    let mut all = json!({"flow_ids": null, "actor_ids": null, "event_types": null, "status_filter": null});
    all.as_object_mut().unwrap().extend(filters.as_object().unwrap().clone());
    assert_eq!(client.ask(&json!({"Subscribe": {"filters": all}})).await, recorded());
}

fn flow_event(to_actor: &str, to_port: &str) -> Value {
    let event = reflow_tracing_protocol::TraceEvent::data_flow(
        "a".into(),
        "out".into(),
        to_actor.into(),
        to_port.into(),
        "T".into(),
        1,
    );
    serde_json::to_value(event).unwrap()
}

async fn seen_actor(client: &mut Client) -> String {
    let answer = client.receive().await;
    answer["EventNotification"]["event"]["actor_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn filters_let_through_what_they_name() {
    let fixture = Fixture::new().await;
    let mut by_actor = fixture.v1().await;
    subscribe(&mut by_actor, json!({"actor_ids": ["wanted", "also"]})).await;
    let mut by_type = fixture.v1().await;
    let any = json!({"event_types": [{"DataFlow": {"to_actor": "*", "to_port": "in"}}]});
    subscribe(&mut by_type, any).await;
    let mut by_flow = fixture.v1().await;
    subscribe(&mut by_flow, json!({"flow_ids": ["mine"]})).await;
    let mut by_status = fixture.v1().await;
    subscribe(&mut by_status, json!({"status_filter": ["Completed"]})).await;

    let mut program = fixture.v1().await;
    let trace = Uuid::new_v4();
    program.ask(&record(trace, &event("wanted").1)).await;
    program.ask(&record(trace, &event("other").1)).await;
    program.ask(&record(trace, &flow_event("b", "other"))).await;
    program.ask(&record(trace, &flow_event("b", "in"))).await;
    program.ask(&start("mine_1234567890")).await;
    program.ask(&record(trace, &event("also").1)).await;

    assert_eq!([seen_actor(&mut by_actor).await, seen_actor(&mut by_actor).await], ["wanted", "also"]);
    let flow = by_type.receive().await;
    let found = &flow["EventNotification"]["event"]["event_type"]["DataFlow"]["to_port"];
    assert_eq!(found, "in");
    assert_eq!(seen_actor(&mut by_flow).await, "also", "only what came after the flow was known");
    by_status.is_well().await;
}

/// What our client sends for a run of `reflow_network`: a flow id of that run, and the program's name.
#[tokio::test]
async fn a_flow_with_a_name_of_its_own_is_found_by_its_id_and_by_its_name() {
    let fixture = Fixture::new().await;
    let mut viewers = Vec::new();
    for flow in ["network_session_1763900000", "program"] {
        let mut viewer = fixture.v1().await;
        subscribe(&mut viewer, json!({"flow_ids": [flow]})).await;
        viewers.push(viewer);
    }
    let mut program = fixture.v2().await;
    let trace_id = Uuid::new_v4();
    let answer = program
        .ask(&json!({"RecordBatch": {"batch_id": Uuid::now_v7(), "trace_id": trace_id, "client_id": "c", "sequence": 0, "dropped": 0,
            "flow_id": "network_session_1763900000", "flow_name": "program", "events": [event("in a batch").1]}}))
        .await;
    assert_eq!(answer["BatchRecorded"]["accepted"], 1, "{answer}");
    for viewer in &mut viewers {
        assert_eq!(seen_actor(viewer).await, "in a batch");
        viewer.is_well().await;
    }
}

#[tokio::test]
async fn several_v2_subscriptions_are_told_apart_and_end() {
    let fixture = Fixture::new().await;
    let mut viewer = fixture.v2().await;
    for (id, actor) in [("one", "a"), ("two", "b")] {
        let filters = json!({"flow_ids": null, "actor_ids": [actor], "event_types": null, "status_filter": null});
        let frame = json!({"Subscribe": {"filters": filters, "subscription_id": id}});
        assert_eq!(viewer.ask(&frame).await, json!({"Subscribed": {"subscription_id": id}}));
    }
    let mut program = fixture.v1().await;
    let trace = Uuid::new_v4();
    program.ask(&record(trace, &event("b").1)).await;
    let seen = viewer.receive().await;
    assert_eq!(seen["EventNotification"]["subscription_id"], "two");
    assert_eq!(viewer.ask(&json!({"Unsubscribe": {"subscription_id": "two"}})).await, recorded());
    program.ask(&record(trace, &event("b").1)).await;
    program.ask(&record(trace, &event("a").1)).await;
    assert_eq!(viewer.receive().await["EventNotification"]["subscription_id"], "one");
    assert_eq!(viewer.ask(&json!("Unsubscribe")).await, recorded());
    viewer.is_well().await;
}

/// Who looks late, or at much in one go, judges each event by the ends before it, not by those behind it.
#[tokio::test]
async fn an_end_is_no_end_of_what_came_before_it() {
    let fixture = Fixture::new().await;
    let (mut running, mut completed) = (fixture.v1().await, fixture.v1().await);
    subscribe(&mut running, json!({"status_filter": ["Running"]})).await;
    subscribe(&mut completed, json!({"status_filter": ["Completed"]})).await;
    let mut program = fixture.v2().await;
    // Three chunks a trace, and nothing is shown before all have come.
    fixture.gate.send(false).unwrap();
    for number in 0..5 {
        let trace_id = Uuid::new_v4();
        let batch = |when: &str| {
            let events = [event(&format!("{when} {number}")).1];
            json!({"RecordBatch": {"batch_id": Uuid::now_v7(), "trace_id": trace_id, "client_id": "c", "sequence": 0,
                "dropped": 0, "events": events}})
        };
        program.send(&batch("before")).await;
        program.send(&json!({"EndTrace": {"trace_id": trace_id, "status": "Completed"}})).await;
        program.send(&batch("behind")).await;
    }
    fixture.gate.send(true).unwrap();
    for _ in 0..15 {
        program.receive().await;
    }
    for number in 0..5 {
        assert_eq!(seen_actor(&mut running).await, format!("before {number}"));
        assert_eq!(seen_actor(&mut completed).await, format!("behind {number}"));
    }
    running.is_well().await;
    completed.is_well().await;
}

/// He misses what comes after the end anyway. Everybody else is answered.
#[tokio::test]
async fn a_drain_waits_for_no_viewer_who_does_not_read() {
    let limits = SessionLimits { drain_timeout: Duration::from_secs(5), ..SessionLimits::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut viewer = fixture.v1().await;
    subscribe(&mut viewer, json!({})).await;
    let mut program = fixture.v2().await;
    // More than sockets hold.
    for sequence in 0..64 {
        let events: Vec<Value> = (0..10).map(|_| large_event(60_000)).collect();
        let batch = json!({"RecordBatch": {"batch_id": Uuid::now_v7(), "trace_id": Uuid::new_v4(), "client_id": "c",
            "sequence": sequence, "dropped": 0, "events": events}});
        assert_eq!(program.ask(&batch).await["BatchRecorded"]["accepted"], 10);
    }
    fixture.gate.send(false).unwrap();
    program.send(&json!({"EndTrace": {"trace_id": Uuid::new_v4(), "status": "Completed"}})).await;
    fixture.becomes("reflow_session_frames_total{request=\"EndTrace\"}", 1.0).await;
    fixture.stop.cancel();
    fixture.gate.send(true).unwrap();
    assert_eq!(program.receive().await, recorded());
    assert!(matches!(program.message().await, Some(Message::Close(_))));
    assert_eq!(fixture.served.await.unwrap().sessions_cut, 0);
}
