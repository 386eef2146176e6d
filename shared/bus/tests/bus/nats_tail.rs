//! What a tail says when its connection, not its reader, is the trouble.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{HeaderMap, Request, RequestErrorKind};
use futures_util::StreamExt;
use reflow_tracing_bus::{Bus, NatsBus, NatsOptions, Tail, TailFilter, TailItem};
use reflow_tracing_chunk::Chunk;

use crate::support::chunks::{TENANT, chunk};
use crate::support::{NatsServer, Proxy, eventually, soon};

async fn bus(url: String) -> NatsBus {
    let options = NatsOptions { stream_max_bytes: 64 << 20, dead_max_bytes: 1 << 20, ..NatsOptions::new(url) };
    let bus = NatsBus::connect(options).await.unwrap();
    soon("declare", bus.declare_when_reachable()).await.unwrap();
    bus
}

async fn next(tail: &mut Tail) -> TailItem {
    soon("tail", tail.stream.next()).await.unwrap()
}

async fn shows(tail: &mut Tail, chunk: &Chunk) {
    match next(tail).await {
        TailItem::Chunk(shown) => assert_eq!(*shown, *chunk),
        TailItem::Missed(missed) => panic!("missed {missed:?}"),
    }
}

async fn misses(tail: &mut Tail) {
    match next(tail).await {
        TailItem::Missed(missed) => assert_eq!(missed, None),
        TailItem::Chunk(chunk) => panic!("shown {:?}", chunk.header.chunk_uuid()),
    }
}

/// Whether the server knows the tail's subscription: only then a question without an answer takes its time.
async fn is_subscribed(client: &async_nats::Client) -> bool {
    let question = Request::new().timeout(Some(Duration::from_millis(100)));
    let asked = client.send_request(format!("reflow.live.{TENANT}._.0"), question).await;
    asked.is_err_and(|error| error.kind() == RequestErrorKind::TimedOut)
}

/// Cuts the viewer's connections, lets something happen, and mends them.
async fn away(server: &NatsServer, proxy: &Proxy, viewer: &NatsBus, meanwhile: impl Future<Output = ()>) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let before = viewer.stats().reconnects.load(Ordering::Relaxed);
    proxy.cut();
    eventually("cut", async || (!is_subscribed(&client).await).then_some(())).await;
    meanwhile.await;
    proxy.mend();
    eventually("subscribed again", async || is_subscribed(&client).await.then_some(())).await;
    // The bus's own connection and the tails'.
    let back = async || (viewer.stats().reconnects.load(Ordering::Relaxed) >= before + 2).then_some(());
    eventually("mended", back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_while_the_connection_was_away_is_told_as_missed() {
    let server = NatsServer::start();
    let proxy = Proxy::start(&server.url()).await;
    let (viewer, other) = (bus(proxy.url()).await, bus(server.url()).await);
    let mut tail = viewer.tail(TailFilter::tenant(TENANT)).await.unwrap();
    let (before, after) = (chunk(), chunk());
    other.publish(before.clone()).await.unwrap();
    shows(&mut tail, &before).await;
    away(&server, &proxy, &viewer, async { other.publish(chunk()).await.unwrap() }).await;
    misses(&mut tail).await;
    other.publish(after.clone()).await.unwrap();
    shows(&mut tail, &after).await;
    assert_eq!(viewer.stats().tail_gaps.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_away_while_nothing_happened_is_no_gap() {
    let server = NatsServer::start();
    let proxy = Proxy::start(&server.url()).await;
    let (viewer, other) = (bus(proxy.url()).await, bus(server.url()).await);
    let mut tail = viewer.tail(TailFilter::tenant(TENANT)).await.unwrap();
    for _ in 0..3 {
        away(&server, &proxy, &viewer, async {}).await;
        for chunk in [chunk(), chunk()] {
            other.publish(chunk.clone()).await.unwrap();
            shows(&mut tail, &chunk).await;
        }
    }
    assert_eq!(viewer.stats().tail_gaps.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_and_started_again_is_followed() {
    let mut server = NatsServer::start();
    let bus = bus(server.url()).await;
    let mut tail = bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    let (before, after) = (chunk(), chunk());
    soon("publish", bus.publish(before.clone())).await.unwrap();
    shows(&mut tail, &before).await;
    server.kill();
    server.start_again();
    let back = async || (bus.stats().reconnects.load(Ordering::Relaxed) >= 2).then_some(());
    eventually("connected again", back).await;
    soon("publish", bus.publish(after.clone())).await.unwrap();
    shows(&mut tail, &after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_sequences_of_a_subject_is_told() {
    let server = NatsServer::start();
    let bus = bus(server.url()).await;
    let mut tail = bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    let forger = async_nats::connect(server.url()).await.unwrap();
    let forge = async |chunk: &Chunk, sequence: &str, before: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Stream", "REFLOW_CHUNKS");
        headers.insert("Nats-Sequence", sequence);
        headers.insert("Nats-Last-Sequence", before);
        let subject = format!("reflow.live.{TENANT}.0a0b0c0d.3");
        forger.publish_with_headers(subject, headers, chunk.encode()).await.unwrap();
    };
    let chunks = [chunk(), chunk(), chunk()];
    forge(&chunks[0], "101", "0").await;
    forge(&chunks[1], "102", "101").await;
    forge(&chunks[2], "105", "104").await;
    // What did not come from the stream is nobody's chunk.
    forger.publish(format!("reflow.live.{TENANT}._.3"), chunk().encode()).await.unwrap();
    shows(&mut tail, &chunks[0]).await;
    shows(&mut tail, &chunks[1]).await;
    misses(&mut tail).await;
    shows(&mut tail, &chunks[2]).await;
    // An unreadable one is one missed.
    forger.flush().await.unwrap();
    let broken = Chunk { header: Default::default(), payload: Default::default() };
    forge(&broken, "106", "105").await;
    assert!(matches!(next(&mut tail).await, TailItem::Missed(None)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_anew_is_followed() {
    let server = NatsServer::start();
    let bus = bus(server.url()).await;
    for _ in 0..5 {
        soon("publish", bus.publish(chunk())).await.unwrap();
    }
    let mut tail = bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    assert_eq!(tail.position, 5);
    let client = async_nats::connect(server.url()).await.unwrap();
    client.request("$JS.API.STREAM.DELETE.REFLOW_CHUNKS", "".into()).await.unwrap();
    // Sequences begin at 1 again. For a few seconds that looks like something of before the tail; then it is shown.
    let shown = eventually("a chunk is shown", async || {
        soon("publish", bus.publish(chunk())).await.unwrap();
        tokio::time::timeout(Duration::from_millis(100), tail.stream.next()).await.ok().flatten()
    });
    assert!(matches!(shown.await, TailItem::Chunk(_)));
}
