//! A writer between the real local bus and the real memory store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reflow_tracing_bus::{Bus, BusErrorKind, Lag, LocalBus, LocalOptions};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::{Config, Metrics};
use reflow_tracing_store::{EvictionPolicy, MemoryStore, Store};
use tokio_util::sync::CancellationToken;

use super::fake::{FakeBus, message};
use crate::{Background, BackgroundOptions, NoHooks, Writer, WriterMetrics, WriterOptions};

#[tokio::test]
async fn what_was_published_is_stored_once_and_told_by_the_metrics() {
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::try_new(LocalOptions::default()).await.unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(1_000, EvictionPolicy::Lru));
    let metrics = Metrics::try_new("test").unwrap();
    let counts = WriterMetrics::register(&metrics).unwrap();
    let (config, stop) = (Config::default(), CancellationToken::new());
    let options = WriterOptions { max_chunks: 20, ..WriterOptions::of(&config) };
    let writer = Writer::new(bus.clone(), store.clone(), Arc::new(NoHooks), options, counts.clone());
    let options = BackgroundOptions {
        lag_interval: Duration::from_millis(10),
        stats_interval: Duration::from_millis(10),
        ..BackgroundOptions::of(&config)
    };
    let background = Background::new(bus.clone(), store.clone(), options, counts);
    let writing = tokio::spawn(writer.run(|| (), stop.clone()));
    let beside = tokio::spawn(background.run(stop.clone()));

    let chunks: Vec<Chunk> = (0..100).map(|i| Chunk::decode(message(&format!("a{i}"))).unwrap()).collect();
    for _ in 0..2 {
        for outcome in join_all(chunks.iter().map(|chunk| bus.publish(chunk.clone()))).await {
            outcome.unwrap();
        }
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.traces, stats.events), (100, 100));
    let told = |line: &str| metrics.render().unwrap().lines().any(|found| found == line);
    assert!(told("reflow_writer_stored_chunks_total 100") && told("reflow_writer_duplicate_chunks_total 100"));
    let eventually = async {
        while !(told("reflow_store_events 100") && told("reflow_bus_lag_messages 0")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), eventually).await.expect("the gauges are set in the background");
    // Nothing waits, so there is no oldest: that is not zero seconds.
    assert!(!metrics.render().unwrap().contains("\nreflow_bus_lag_oldest_seconds "));

    stop.cancel();
    writing.await.unwrap().unwrap();
    beside.await.unwrap();
    assert!(metrics.undocumented().is_empty(), "{:?}", metrics.undocumented());
    assert!(crate::writer_metrics().iter().all(|doc| doc.check().is_ok()));
}

#[tokio::test]
async fn a_background_run_without_an_answer_is_given_up_and_the_next_one_comes() {
    let bus = Arc::new(FakeBus::that_hangs());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(10, EvictionPolicy::Lru));
    let metrics = Metrics::try_new("test").unwrap();
    let options = BackgroundOptions {
        lag_interval: Duration::from_millis(1),
        run_timeout: Duration::from_millis(10),
        ..BackgroundOptions::of(&Config::default())
    };
    let stop = CancellationToken::new();
    let counts = WriterMetrics::register(&metrics).unwrap();
    // As the last look that was answered found it.
    counts.lag(Some(&Lag { messages: 7, ..Lag::default() }));
    assert!(metrics.render().unwrap().contains("\nreflow_bus_lag_messages 7\n"));
    let background = Background::new(bus, store, options, counts);
    let running = tokio::spawn(background.run(stop.clone()));
    let given_up_twice = async {
        let name = r#"reflow_writer_task_runs_total{result="error",task="lag"} "#;
        let runs = |line: &str| line.strip_prefix(name)?.parse::<u64>().ok();
        while !metrics.render().unwrap().lines().filter_map(runs).any(|runs| runs >= 2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), given_up_twice).await.expect("runs are given up");
    assert!(!metrics.render().unwrap().contains("\nreflow_bus_lag_messages "), "nobody knows it any more");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_bus_that_closes_ends_the_writer() {
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::try_new(LocalOptions::default()).await.unwrap());
    let store = Arc::new(MemoryStore::new(10, EvictionPolicy::Lru));
    let counts = WriterMetrics::register(&Metrics::try_new("test").unwrap()).unwrap();
    let options = WriterOptions::of(&Config::default());
    let start = |stop| {
        Writer::new(bus.clone(), store.clone(), Arc::new(NoHooks), options.clone(), counts.clone()).run(|| (), stop)
    };
    let first = tokio::spawn(start(CancellationToken::new()));
    bus.publish(Chunk::decode(message("a")).unwrap()).await.unwrap();
    // There is one place for a consumer, and it is taken.
    let second = start(CancellationToken::new()).await.unwrap_err();
    assert_eq!(second.kind, BusErrorKind::Setup);
    bus.close().await;
    first.await.unwrap().unwrap();
}
