//! What a server has to do with v2 clients beside their requests, and that older ones never see it.

use std::time::Duration;

use reflow_tracing_protocol::wire::SamplingRule;
use reflow_tracing_session::SessionLimits;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Client, Fixture, event, record, recorded};

fn limits() -> SessionLimits {
    SessionLimits {
        sampling: SamplingRule::parse_all("flow:orders type:MessageSent = 0.1").unwrap(),
        report_interval: Some(Duration::from_millis(20)),
        ..SessionLimits::default()
    }
}

async fn record_batch(client: &mut Client) {
    let (_, event) = event("a");
    let batch = json!({"RecordBatch": {"batch_id": Uuid::now_v7(), "trace_id": Uuid::new_v4(), "client_id": "c",
        "sequence": 0, "dropped": 0, "events": [event]}});
    assert_eq!(client.ask(&batch).await["BatchRecorded"]["accepted"], json!(1));
}

#[tokio::test]
async fn rules_follow_the_welcome_of_a_v2_session() {
    let fixture = Fixture::with(limits(), true).await;
    let mut client = fixture.v2().await;
    let rule = json!({"flow": "orders", "event_type": "MessageSent", "rate": 0.1});
    assert_eq!(client.receive().await, json!({"Sampling": {"rules": [rule]}}));
}

#[tokio::test]
async fn a_client_that_records_is_asked_for_its_figures_and_they_add_up() {
    let fixture = Fixture::with(SessionLimits { sampling: Vec::new(), ..limits() }, true).await;
    let mut client = fixture.v2().await;
    record_batch(&mut client).await;
    let report = json!({"ClientMetrics": {"client_id": "c", "events_recorded": 7, "dropped_buffer_full": 2,
        "ack_latency_sum_us": 500_000, "something_newer": {}}});
    for _ in 0..2 {
        assert_eq!(client.receive().await, json!("ReportMetrics"));
        client.send(&report).await;
    }
    // Not answered: the next frame is the next question, or the answer to a question of ours.
    client.send(&json!({"GetMetrics": {}})).await;
    while client.receive().await == json!("ReportMetrics") {}
    assert_eq!(fixture.value("reflow_client_reports_total"), 2.0);
    assert_eq!(fixture.value("reflow_client_events_total{result=\"recorded\"}"), 14.0);
    assert_eq!(fixture.value("reflow_client_dropped_events_total{reason=\"buffer_full\"}"), 4.0);
    assert_eq!(fixture.value("reflow_client_ack_seconds_total"), 1.0);
}

#[tokio::test]
async fn absurd_figures_do_not_wrap_a_counter() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    for _ in 0..3 {
        client.send(&json!({"ClientMetrics": {"client_id": "c", "events_acked": u64::MAX}})).await;
    }
    client.is_well().await;
    assert_eq!(fixture.value("reflow_client_events_total{result=\"acked\"}"), 3.0 * (1_u64 << 40) as f64);
}

#[tokio::test]
async fn older_clients_and_viewers_never_see_any_of_it() {
    let fixture = Fixture::with(limits(), true).await;
    let mut older = fixture.v1().await;
    let mut viewer = fixture.v2().await;
    assert!(viewer.receive().await["Sampling"].is_object());
    let (_, event) = event("a");
    // Many times as long as the interval, as told by a third session, which is asked.
    let mut asked = fixture.v2().await;
    assert!(asked.receive().await["Sampling"].is_object());
    record_batch(&mut asked).await;
    for _ in 0..5 {
        assert_eq!(older.ask(&record(Uuid::new_v4(), &event)).await, recorded());
        assert_eq!(asked.receive().await, json!("ReportMetrics"));
    }
    older.is_well().await;
    viewer.is_well().await;
    let answer = older.ask(&json!({"ClientMetrics": {"client_id": "c"}})).await;
    assert!(answer["Error"]["message"].as_str().unwrap().contains("v2"), "{answer}");
}
