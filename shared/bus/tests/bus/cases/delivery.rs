//! From publish to ack.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, BusError, BusErrorKind, Consumer, Delivery, PullLimits};
use reflow_tracing_chunk::Chunk;
use tokio::task::JoinHandle;

use super::Make;
use crate::suite::Wanted;
use crate::support::chunks::{chunk, chunk_of, id_of, limits};
use crate::support::{eventually, soon};

/// Publishes in the background: a local bus answers only after the commit.
pub fn publish(bus: &Arc<dyn Bus>, chunk: Chunk) -> JoinHandle<Result<(), BusError>> {
    let bus = Arc::clone(bus);
    tokio::spawn(async move { bus.publish(chunk).await })
}

/// The next delivery, alone.
async fn next(consumer: &mut dyn Consumer) -> Delivery {
    let one = PullLimits { max_messages: 1, max_wait: Duration::from_secs(10), ..limits() };
    let mut batch = consumer.pull(&one).await.unwrap();
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

async fn nothing_comes(consumer: &mut dyn Consumer) {
    // Longer than the ack wait of the suite.
    let patient = PullLimits { max_wait: Duration::from_millis(1500), ..limits() };
    assert!(consumer.pull(&patient).await.unwrap().is_empty());
}

pub async fn published_chunk_is_delivered_as_it_was_and_once(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let sent = chunk();
    let publishing = publish(&tried.bus, sent.clone());
    let delivery = next(&mut *consumer).await;
    assert_eq!(Chunk::decode(delivery.message.clone()).unwrap(), sent);
    assert_eq!(delivery.attempt, 1);
    assert!(!tried.bus.commits_before_ack() || !publishing.is_finished());
    delivery.acker.ack().await.unwrap();
    soon("publish", publishing).await.unwrap().unwrap();
    nothing_comes(&mut *consumer).await;
    let stats = tried.bus.stats();
    assert_eq!(stats.published.load(Ordering::Relaxed), 1);
    assert_eq!(stats.acked.load(Ordering::Relaxed), 1);
    assert_eq!(stats.redelivered.load(Ordering::Relaxed), 0);
    assert_eq!(stats.publishing.load(Ordering::Relaxed), 0);
}

pub async fn nak_is_delivered_again_after_its_delay(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let publishing = publish(&tried.bus, chunk());
    let first = next(&mut *consumer).await;
    let delay = Duration::from_millis(400);
    let start = Instant::now();
    first.acker.nak(delay).await.unwrap();
    let second = next(&mut *consumer).await;
    assert!(start.elapsed() >= delay - Duration::from_millis(20), "came after {:?}", start.elapsed());
    assert_eq!((second.attempt, id_of(&second.message)), (2, id_of(&first.message)));
    second.acker.ack().await.unwrap();
    soon("publish", publishing).await.unwrap().unwrap();
    assert_eq!(tried.bus.stats().redelivered.load(Ordering::Relaxed), 1);
}

pub async fn dropped_delivery_is_delivered_again(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let publishing = publish(&tried.bus, chunk());
    drop(next(&mut *consumer).await);
    let second = next(&mut *consumer).await;
    assert_eq!(second.attempt, 2);
    second.acker.progress().await.unwrap();
    second.acker.ack().await.unwrap();
    soon("publish", publishing).await.unwrap().unwrap();
    nothing_comes(&mut *consumer).await;
}

pub async fn terminated_delivery_never_comes_again(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let publishing = publish(&tried.bus, chunk());
    next(&mut *consumer).await.acker.terminate("flow name is no good").await.unwrap();
    let outcome = soon("publish", publishing).await.unwrap();
    if tried.bus.commits_before_ack() {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind, error.reason.as_str()), (BusErrorKind::Refused, "flow name is no good"));
    } else {
        outcome.unwrap();
    }
    nothing_comes(&mut *consumer).await;
    eventually("empty", async || (tried.bus.lag().await.unwrap().messages == 0).then_some(())).await;
}

pub async fn pull_keeps_to_its_limits(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let sizes = [10_000, 10_000, 10_000, 50_000, 10_000, 10_000, 10_000, 10_000];
    let publishing: Vec<_> = sizes.map(|size| publish(&tried.bus, chunk_of(None, size))).into();
    let waiting = async || (tried.bus.lag().await.unwrap().messages == sizes.len() as u64).then_some(());
    eventually("all are there", waiting).await;

    let tight = PullLimits { max_messages: 3, max_bytes: 25_000, ..limits() };
    let mut seen = BTreeSet::new();
    while seen.len() < sizes.len() {
        let batch = consumer.pull(&tight).await.unwrap();
        let bytes: usize = batch.iter().map(|delivery| delivery.message.len()).sum();
        assert!(!batch.is_empty() && batch.len() <= 3);
        assert!(bytes <= tight.max_bytes || batch.len() == 1, "{} chunks of {bytes} bytes", batch.len());
        for delivery in batch {
            assert!(seen.insert(id_of(&delivery.message)));
            delivery.acker.ack().await.unwrap();
        }
    }
    for publishing in publishing {
        soon("publish", publishing).await.unwrap().unwrap();
    }
    assert_eq!(tried.bus.stats().redelivered.load(Ordering::Relaxed), 0);
}

pub async fn empty_pull_returns_after_its_wait(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let start = Instant::now();
    let wait = PullLimits { max_wait: Duration::from_millis(300), ..limits() };
    assert!(consumer.pull(&wait).await.unwrap().is_empty());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(5), "took {took:?}");
}

pub async fn what_a_dropped_consumer_held_goes_to_the_next(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let mut consumer = tried.bus.consumer().await.unwrap();
    let publishing: Vec<_> = (0..5).map(|_| publish(&tried.bus, chunk())).collect();
    let held = consumer.pull(&limits()).await.unwrap();
    assert!(!held.is_empty());
    drop((held, consumer));
    let mut consumer = tried.bus.consumer().await.unwrap();
    for _ in 0..5 {
        next(&mut *consumer).await.acker.ack().await.unwrap();
    }
    for publishing in publishing {
        soon("publish", publishing).await.unwrap().unwrap();
    }
}
