//! A client, the events it records, and what history must hold afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use reflow_tracing_browser_tests::{Server, patience};
use reflow_tracing_protocol::client::{RetryConfig, TracingClient, TracingConfig, Undelivered};
use reflow_tracing_protocol::{FlowId, FlowVersion, TraceEvent, TraceId};
use serde_json::Value;

/// Quick to try again, so that tests are quick.
pub fn config(url: &str) -> TracingConfig {
    TracingConfig {
        server_url: url.to_owned(),
        batch_size: 50,
        batch_timeout: Duration::from_millis(20),
        retry_config: RetryConfig {
            max_retries: 5,
            initial_delay: Duration::from_millis(50),
            max_delay: Duration::from_millis(500),
            backoff_multiplier: 2.0,
        },
        ..TracingConfig::default()
    }
}

/// A client that is connected.
pub async fn connected(url: &str) -> TracingClient {
    let client = TracingClient::new(config(url));
    client.connect_within(patience()).await.expect("the server is there");
    client
}

/// A trace of a flow of this name.
pub async fn started(client: &TracingClient, flow: &str) -> TraceId {
    let version = FlowVersion {
        major: 1,
        minor: 2,
        patch: 3,
        git_hash: None,
        timestamp: "2026-01-01T00:00:00Z".parse().expect("a time"),
    };
    client.start_trace(FlowId::new(flow), version).await.expect("a trace")
}

/// Records so many events, and gives their ids.
pub async fn record(client: &TracingClient, trace_id: &TraceId, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for i in 0..count {
        let event = TraceEvent::message_sent(format!("actor {}", i % 7), "out".to_owned(), "Integer".to_owned(), 8);
        ids.insert(event.event_id.to_string());
        client.record_event(trace_id.clone(), event).await.expect("recorded");
    }
    ids
}

/// Waits until everything is acked.
pub async fn delivered(client: &TracingClient) {
    let outcome: Result<(), Undelivered> = client.flush_within(patience()).await;
    outcome.expect("everything is delivered in time");
}

/// Asks history by another client: exactly these events, each once.
pub async fn stored(server: &Server, trace_id: &TraceId, sent: &BTreeSet<String>) -> Value {
    let trace = server.trace(&trace_id.to_string()).await;
    let list = trace["events"].as_array().unwrap_or_else(|| panic!("no events in {trace}"));
    let ids: BTreeSet<String> =
        list.iter().map(|event| event["event_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(list.len(), ids.len(), "an event is there twice");
    assert_eq!(&ids, sent);
    trace
}
