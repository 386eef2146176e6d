//! A bus that is full, too small, or closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reflow_tracing_bus::{BusErrorKind, PullLimits, TailFilter};

use super::{Make, publish};
use crate::suite::Wanted;
use crate::support::chunks::{TENANT, chunk, chunk_of, limits, spawn_writer};
use crate::support::{eventually, soon};

pub async fn full_bus_pushes_back_and_resumes(make: impl Make) {
    let tried = make(Wanted { max_bytes: 200_000, ..Wanted::default() }).await;
    let publishing: Vec<_> = (0..60).map(|_| publish(&tried.bus, chunk_of(None, 16_000))).collect();
    let stats = tried.bus.stats();
    eventually("the bus is full", async || (stats.full_waits.load(Ordering::Relaxed) >= 40).then_some(())).await;
    let stored = tried.bus.lag().await.unwrap();
    assert!(stored.bytes <= 200_000 && stored.messages <= 12, "{stored:?}");
    assert!(publishing.iter().filter(|publishing| publishing.is_finished()).count() <= 12);

    let (committed, _writer) = spawn_writer(&tried.bus).await;
    for publishing in publishing {
        soon("publish", publishing).await.unwrap().unwrap();
    }
    eventually("all are committed", async || (committed.lock().unwrap().len() == 60).then_some(())).await;
}

pub async fn many_publishers_are_all_committed(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let (committed, _writer) = spawn_writer(&tried.bus).await;
    let publishers = (0..20).map(|_| {
        let bus = Arc::clone(&tried.bus);
        tokio::spawn(async move {
            for _ in 0..50 {
                bus.publish(chunk_of(Some("busy"), 1000)).await.unwrap();
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        soon("publisher", publisher).await.unwrap();
    }
    let once = async || {
        let committed = committed.lock().unwrap();
        (committed.len() == 1000 && committed.values().all(|times| *times == 1)).then_some(())
    };
    eventually("all are committed, once", once).await;
    eventually("nothing is left", async || (tried.bus.lag().await.unwrap().messages == 0).then_some(())).await;
}

pub async fn too_large_a_chunk_names_the_limit(make: impl Make) {
    let tried = make(Wanted { max_bytes: 900_000, ..Wanted::default() }).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    let error = soon("refusal", tried.bus.publish(chunk_of(None, 1 << 20))).await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::TooLarge);
    let limit = if tried.bus.commits_before_ack() { "max_bytes = 900000" } else { "max_payload = 1048576" };
    assert!(error.reason.contains(limit), "{error}");
    soon("publish", tried.bus.publish(chunk())).await.unwrap();
}

pub async fn closing_lets_everybody_go(make: impl Make) {
    let tried = make(Wanted { max_bytes: 100_000, ..Wanted::default() }).await;
    let mut tail = tried.bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    let publishing: Vec<_> = (0..20).map(|_| publish(&tried.bus, chunk_of(None, 16_000))).collect();
    let stats = tried.bus.stats();
    eventually("the bus is full", async || (stats.full_waits.load(Ordering::Relaxed) > 0).then_some(())).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let held = consumer.pull(&PullLimits { max_messages: 1, ..limits() }).await.unwrap();
    let pulling = tokio::spawn(async move {
        loop {
            // What comes before the bus closes is held, and not answered.
            let patient = PullLimits { max_wait: Duration::from_secs(60), ..limits() };
            match consumer.pull(&patient).await {
                Ok(batch) => std::mem::forget(batch),
                Err(error) => return error.kind,
            }
        }
    });
    tried.bus.close().await;
    assert_eq!(soon("pull", pulling).await.unwrap(), BusErrorKind::Closed);
    let mut closed = 0;
    for publishing in publishing {
        if let Err(error) = soon("publish", publishing).await.unwrap() {
            assert_eq!(error.kind, BusErrorKind::Closed);
            closed += 1;
        }
    }
    assert!(closed >= 14, "{closed} were let go");
    drop(held);
    use futures_util::StreamExt;
    soon("tail ends", async { while tail.stream.next().await.is_some() {} }).await;
    assert_eq!(tried.bus.publish(chunk()).await.unwrap_err().kind, BusErrorKind::Closed);
}
