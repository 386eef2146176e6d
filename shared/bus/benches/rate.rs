//! How many chunks a second go through each bus: `cargo bench -p reflow-tracing-bus`. A chunk of 16 KiB stands for 200 events.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unused_imports, reason = "shares the tests' fixtures")]

#[path = "../tests/bus/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, LocalBus, LocalOptions, NatsBus, NatsOptions, PullLimits};

use support::NatsServer;
use support::chunks::chunk_of;

const CHUNK_BYTES: usize = 16 << 10;
const EVENTS: f64 = 200.0;
const TIME: Duration = Duration::from_secs(4);

fn report(what: &str, chunks: u64, took: Duration) {
    let rate = chunks as f64 / took.as_secs_f64();
    println!("{what:<48} {rate:>10.0} chunks/s {:>12.0} events/s", rate * EVENTS);
}

/// Publishes for a while from so many tasks; how many were acknowledged.
async fn publish(bus: &Arc<dyn Bus>, tasks: usize) -> (u64, Duration) {
    let start = Instant::now();
    let publishers: Vec<_> = (0..tasks)
        .map(|_| {
            let bus = Arc::clone(bus);
            tokio::spawn(async move {
                let template = chunk_of(Some("bench"), CHUNK_BYTES);
                let mut chunks = 0;
                while start.elapsed() < TIME {
                    let mut chunk = template.clone();
                    chunk.header.chunk_id = uuid::Uuid::now_v7().as_bytes().to_vec();
                    bus.publish(chunk).await.unwrap();
                    chunks += 1;
                }
                chunks
            })
        })
        .collect();
    let mut chunks = 0;
    for publisher in publishers {
        chunks += publisher.await.unwrap();
    }
    (chunks, start.elapsed())
}

/// Takes and acknowledges until nothing comes.
async fn drain(bus: &Arc<dyn Bus>) -> (u64, Duration) {
    let mut consumer = bus.consumer().await.unwrap();
    let limits = PullLimits {
        max_messages: 256,
        max_bytes: 16 << 20,
        linger: Duration::from_millis(2),
        max_wait: Duration::from_millis(500),
    };
    let (start, mut last, mut chunks) = (Instant::now(), Duration::ZERO, 0);
    loop {
        let batch = consumer.pull(&limits).await.unwrap();
        if batch.is_empty() {
            return (chunks, last);
        }
        for delivery in batch {
            delivery.acker.ack().await.unwrap();
            chunks += 1;
        }
        last = start.elapsed();
    }
}

#[tokio::main]
async fn main() {
    let local: Arc<dyn Bus> = Arc::new(LocalBus::try_new(LocalOptions::default()).await.unwrap());
    let acked = Arc::new(AtomicU64::new(0));
    let draining = tokio::spawn({
        let (local, acked) = (Arc::clone(&local), Arc::clone(&acked));
        async move { acked.store(drain(&local).await.0, Ordering::Relaxed) }
    });
    let (chunks, took) = publish(&local, 64).await;
    report("local, 64 publishers, one consumer", chunks, took);
    draining.await.unwrap();
    assert_eq!(acked.load(Ordering::Relaxed), chunks);

    for tasks in [1, 16, 256] {
        let server = NatsServer::start();
        let options = NatsOptions { stream_max_bytes: 8 << 30, ..NatsOptions::new(server.url()) };
        let nats = NatsBus::connect(options).await.unwrap();
        nats.declare_when_reachable().await.unwrap();
        let nats: Arc<dyn Bus> = Arc::new(nats);
        let (chunks, took) = publish(&nats, tasks).await;
        report(&format!("nats, {tasks} publishers, no consumer"), chunks, took);
        let (chunks, took) = drain(&nats).await;
        report("nats, pulled and acknowledged, 256 a pull", chunks, took);
        let draining = tokio::spawn({
            let nats = Arc::clone(&nats);
            async move { drain(&nats).await }
        });
        let (chunks, took) = publish(&nats, tasks).await;
        draining.await.unwrap();
        report(&format!("nats, {tasks} publishers beside a consumer"), chunks, took);
    }
}
