//! Live viewers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use reflow_tracing_bus::{BusErrorKind, Tail, TailFilter, TailItem, TailLimits};
use uuid::Uuid;

use super::{Make, publish};
use crate::suite::Wanted;
use crate::support::chunks::{TENANT, chunk, chunk_named, chunk_of, limits, spawn_writer};
use crate::support::{eventually, soon};

/// Chunks and missed ones of a tail, until their sum is as expected.
async fn read(tail: &mut Tail, expected: u64) -> (BTreeMap<Uuid, u64>, u64) {
    let (mut seen, mut missed) = (BTreeMap::new(), 0);
    let reading = async {
        while seen.values().sum::<u64>() + missed < expected {
            match tail.stream.next().await.unwrap() {
                TailItem::Chunk(chunk) => *seen.entry(chunk.header.chunk_uuid()).or_default() += 1,
                TailItem::Missed(count) => missed += count.unwrap(),
            }
        }
    };
    soon("tail", reading).await;
    (seen, missed)
}

pub async fn tail_shows_every_chunk_once(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    // Before anybody looks.
    soon("publish", tried.bus.publish(chunk())).await.unwrap();
    let mut tails = [
        tried.bus.tail(TailFilter::tenant(TENANT)).await.unwrap(),
        tried.bus.tail(TailFilter { tenant: TENANT.to_owned(), flows: Some(vec!["orders".to_owned()]) }).await.unwrap(),
    ];
    let chunks: Vec<_> = (0..300).map(|n| chunk_of((n % 3 > 0).then_some("orders"), n)).collect();
    let expected: BTreeMap<_, _> = chunks.iter().map(|chunk| (chunk.header.chunk_uuid(), 1)).collect();
    let publishing: Vec<_> = chunks.into_iter().map(|chunk| publish(&tried.bus, chunk)).collect();
    for tail in &mut tails {
        let (seen, missed) = read(tail, 300).await;
        assert_eq!((seen, missed), (expected.clone(), 0));
    }
    for publishing in publishing {
        soon("publish", publishing).await.unwrap().unwrap();
    }
}

pub async fn tail_is_as_narrow_as_its_filter(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    let flows = Some(vec!["orders".to_owned(), "billing".to_owned()]);
    let mut tail = tried.bus.tail(TailFilter { tenant: TENANT.to_owned(), flows }).await.unwrap();
    let mut foreign = chunk_of(Some("orders"), 10);
    foreign.header.tenant = "other".to_owned();
    let wanted = [chunk_of(Some("orders"), 1), chunk_of(None, 2), chunk_of(Some("billing"), 3)];
    let others = [foreign, chunk_of(Some("shipping"), 4)];
    for chunk in others.into_iter().chain(wanted.clone()) {
        soon("publish", tried.bus.publish(chunk)).await.unwrap();
    }
    let (seen, _) = read(&mut tail, 3).await;
    assert_eq!(seen, wanted.iter().map(|chunk| (chunk.header.chunk_uuid(), 1)).collect());
}

/// Programs may call themselves what they like, whatever their flow's id: both words find them, and nothing else does.
pub async fn tail_finds_flows_by_id_and_by_a_name_of_their_own(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    let [run, plain] = [chunk_named("network_session_1763900000", "program"), chunk_named("orders", "shop")];
    let [other_run, last] = [chunk_named("network_session_1763900001", "program"), chunk_of(None, 1)];
    let cases = [
        ("network_session_1763900000", vec![&run]),
        ("program", vec![&run, &other_run]),
        ("orders", vec![&plain]),
        ("shop", vec![&plain]),
        ("network_session", vec![]),
    ];
    let mut tails = Vec::new();
    for (flow, wanted) in cases {
        let filter = TailFilter { tenant: TENANT.to_owned(), flows: Some(vec![flow.to_owned()]) };
        tails.push((flow, wanted, tried.bus.tail(filter).await.unwrap()));
    }
    for chunk in [&run, &plain, &other_run, &last] {
        soon("publish", tried.bus.publish(chunk.clone())).await.unwrap();
    }
    for (flow, wanted, mut tail) in tails {
        // A chunk of an unknown flow passes every filter: whatever came before it has been shown.
        let mut seen = Vec::new();
        while seen.last() != Some(&last.header.chunk_uuid()) {
            match soon("tail", tail.stream.next()).await.unwrap() {
                TailItem::Chunk(chunk) => seen.push(chunk.header.chunk_uuid()),
                missed @ TailItem::Missed(_) => panic!("{flow}: {missed:?}"),
            }
        }
        let mut expected: Vec<_> = wanted.iter().map(|chunk| chunk.header.chunk_uuid()).collect();
        expected.push(last.header.chunk_uuid());
        assert_eq!(seen, expected, "{flow}");
    }
}

pub async fn slow_viewer_is_told_exactly_what_it_missed(make: impl Make) {
    let tail = TailLimits { max_messages: 10, max_bytes: 1 << 20 };
    let tried = make(Wanted { tail, ..Wanted::default() }).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    let mut tail = tried.bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    for _ in 0..100 {
        soon("publish", tried.bus.publish(chunk())).await.unwrap();
    }
    let stats = tried.bus.stats();
    eventually("all went by", async || (stats.tail_missed.load(Ordering::Relaxed) == 90).then_some(())).await;
    let (seen, missed) = read(&mut tail, 100).await;
    assert_eq!((seen.len(), missed), (10, 90));
    // Once it has caught up it sees everything again.
    soon("publish", tried.bus.publish(chunk())).await.unwrap();
    let (seen, missed) = read(&mut tail, 1).await;
    assert_eq!((seen.len(), missed), (1, 0));
}

pub async fn nobody_looking_costs_nothing(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let (_committed, _writer) = spawn_writer(&tried.bus).await;
    let tail = tried.bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    let stats = tried.bus.stats();
    assert_eq!(stats.tails.load(Ordering::Relaxed), 1);
    drop(tail);
    soon("publish", tried.bus.publish(chunk())).await.unwrap();
    eventually("the tail is gone", async || (stats.tails.load(Ordering::Relaxed) == 0).then_some(())).await;
    let before = stats.tail_chunks.load(Ordering::Relaxed);
    soon("publish", tried.bus.publish(chunk())).await.unwrap();
    assert_eq!(stats.tail_chunks.load(Ordering::Relaxed), before);
}

pub async fn history_follows_the_position_of_a_tail(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let publishing = publish(&tried.bus, chunk());
    let held = soon("delivery", consumer.pull(&limits())).await.unwrap();
    let tail = tried.bus.tail(TailFilter::tenant(TENANT)).await.unwrap();
    if !tried.bus.commits_before_ack() {
        let early = tried.bus.wait_for_history(tail.position, Duration::from_millis(200)).await;
        assert_eq!(early.unwrap_err().kind, BusErrorKind::Timeout);
    }
    for delivery in held {
        delivery.acker.ack().await.unwrap();
    }
    soon("publish", publishing).await.unwrap().unwrap();
    tried.bus.wait_for_history(tail.position, Duration::from_secs(10)).await.unwrap();
}
