//! Handshakes and codecs.

use reflow_tracing_browser_tests::{Server, patience};
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::codec::Codec;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::scene::{config, connected, delivered, record, started, stored};

#[wasm_bindgen_test]
async fn limits_come_in_the_first_frame() {
    let server = Server::start().await;
    let client = connected(&server.url).await;
    let limits = client.server_limits().expect("v2 servers announce limits");
    assert!(limits.max_batch_events > 0 && limits.max_frame_bytes > 0);
}

#[wasm_bindgen_test]
async fn every_codec_there_is_arrives() {
    let server = Server::start().await;
    for codec in [Codec::Lz4, Codec::Gzip, Codec::Brotli, Codec::None] {
        let client = TracingClient::builder(config(&server.url)).codec(codec).build().expect("settings that can be");
        client.connect_within(patience()).await.expect("the server is there");
        let trace_id = started(&client, codec.name()).await;
        let sent = record(&client, &trace_id, 50).await;
        client.shutdown_within(patience()).await.expect("everything is delivered in time");
        stored(&server, &trace_id, &sent).await;
        let metrics = client.metrics();
        let smaller = metrics.bytes_after_compression * 2 < metrics.bytes_before_compression;
        assert_eq!(smaller, codec != Codec::None, "{codec:?}: {metrics:?}");
    }
}

#[wasm_bindgen_test]
async fn zstd_and_a_spool_are_refused_with_the_reason() {
    let refusal =
        TracingClient::builder(config("ws://127.0.0.1:1/")).codec(Codec::Zstd).build().err().expect("no zstd");
    assert!(refusal.to_string().contains("lz4"), "{refusal}");
    let refusal = TracingClient::builder(config("ws://127.0.0.1:1/")).spool("file").build().err().expect("no files");
    assert!(refusal.to_string().contains("spool"), "{refusal}");
}

#[wasm_bindgen_test]
async fn a_server_that_does_not_know_v2_is_spoken_to_in_v1() {
    let server = Server::start().await;
    let client = connected(&server.v1_url).await;
    assert_eq!(client.server_limits(), None);
    let trace_id = started(&client, "old server").await;
    let sent = record(&client, &trace_id, 30).await;
    delivered(&client).await;
    stored(&server, &trace_id, &sent).await;
    assert_eq!(client.metrics().fallbacks_to_v1, 1);
}

#[wasm_bindgen_test]
async fn a_server_that_is_away_is_an_error_and_no_reason_for_v1() {
    let server = Server::start().await;
    server.kill().await;
    let client = TracingClient::new(config(&server.url));
    let timeout = std::time::Duration::from_secs(1);
    let error = client.connect_within(timeout).await.expect_err("nobody is there");
    assert!(error.to_string().contains("cannot connect"), "{error}");

    server.restart().await;
    client.connect_within(patience()).await.expect("the server is back");
    assert!(client.server_limits().is_some(), "fell back to v1");
    assert_eq!(client.metrics().fallbacks_to_v1, 0);
}
