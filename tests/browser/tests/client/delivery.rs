//! What is recorded arrives, whole and once, whatever happens to the connection.

use std::time::Duration;

use reflow_tracing_browser_tests::{Server, eventually, patience};
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_protocol::client::TracingClient;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::scene::{config, connected, delivered, record, started, stored};

#[wasm_bindgen_test]
async fn events_recorded_before_the_connection_arrive_in_their_trace() {
    let server = Server::start().await;
    let client = TracingClient::new(config(&server.url));
    let trace_id = client.current_trace_id();
    let mut sent = record(&client, &trace_id, 20).await;

    client.connect_within(patience()).await.expect("the server is there");
    assert_eq!(started(&client, "early").await, trace_id);
    sent.extend(record(&client, &trace_id, 20).await);
    client.end_trace(trace_id.clone(), ExecutionStatus::Completed).await.expect("an end");
    client.shutdown_within(patience()).await.expect("everything is delivered in time");

    let trace = stored(&server, &trace_id, &sent).await;
    assert_eq!((trace["flow_id"].as_str(), trace["status"].as_str()), (Some("early"), Some("Completed")));
    assert_eq!(client.metrics().events_acked, 40);
}

#[wasm_bindgen_test]
async fn a_server_that_was_killed_and_came_back_has_every_event_once() {
    let server = Server::start().await;
    let client = connected(&server.url).await;
    let trace_id = started(&client, "outage").await;
    let mut sent = record(&client, &trace_id, 100).await;
    delivered(&client).await;

    server.kill().await;
    eventually("the client sees that the server is gone", async || {
        if client.is_connected() { Err("still connected".to_owned()) } else { Ok(()) }
    })
    .await;
    sent.extend(record(&client, &trace_id, 100).await);
    let undelivered = client.flush_within(Duration::from_millis(100)).await.expect_err("nobody is there to ack");
    assert_eq!(undelivered.events, 100);

    server.restart().await;
    sent.extend(record(&client, &trace_id, 100).await);
    delivered(&client).await;
    stored(&server, &trace_id, &sent).await;
    let metrics = client.metrics();
    assert_eq!((metrics.events_acked, metrics.events_dropped(), metrics.connections), (300, 0, 2));
}

#[wasm_bindgen_test]
async fn a_batch_whose_ack_was_lost_counts_once() {
    let server = Server::start().await;
    let client = connected(&server.cuttable_url).await;
    let trace_id = started(&client, "lost ack").await;
    let mut sent = record(&client, &trace_id, 30).await;
    delivered(&client).await;

    server.hold_acks().await;
    sent.extend(record(&client, &trace_id, 30).await);
    // Stored, and nobody has told the client so.
    server.cut().await;
    delivered(&client).await;

    stored(&server, &trace_id, &sent).await;
    let metrics = client.metrics();
    assert!(metrics.batches_resent > 0, "{metrics:?}");
    assert_eq!(metrics.connections, 2);
    assert_eq!(server.metric("reflow_writer_stored_events_total").await, 60.0);
    assert!(server.metric("reflow_writer_duplicate_chunks_total").await > 0.0);
}

#[wasm_bindgen_test]
async fn more_than_the_browser_takes_at_once_arrives() {
    let server = Server::start().await;
    let mut config = config(&server.url);
    config.enable_compression = false;
    config.batch_size = 2_000;
    let client = TracingClient::new(config);
    client.connect_within(patience()).await.expect("the server is there");
    let trace_id = started(&client, "much").await;
    let sent = record(&client, &trace_id, 10_000).await;
    delivered(&client).await;
    stored(&server, &trace_id, &sent).await;
    let metrics = client.metrics();
    assert!(metrics.bytes_sent > 4 << 20, "{metrics:?}");
}
