//! The trace directory, with and without Redis.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{
    BusErrorKind, Directory, DirectoryOptions, MemoryDirectory, RedisDirectory, RedisOptions, TraceEntry,
};
use uuid::Uuid;

use crate::support::{Proxy, RedisServer, eventually};

fn entry(flow: &str) -> TraceEntry {
    TraceEntry { flow_id: format!("{flow}_1763900000"), flow_name: flow.to_owned(), trace_id: None }
}

fn directory(server: &RedisServer) -> RedisDirectory {
    RedisDirectory::try_new(RedisOptions::new(server.url())).unwrap()
}

/// How long a call takes.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = call.await;
    (value, start.elapsed())
}

#[tokio::test]
async fn memory_keeps_what_it_was_told_for_its_lifetime() {
    let options = DirectoryOptions { lifetime: Duration::from_millis(300), max_entries: 10 };
    let directory = MemoryDirectory::new(options);
    let id = Uuid::new_v4();
    directory.put("a", id, entry("orders")).await;
    assert_eq!(directory.get("a", id).await, Some(entry("orders")));
    assert_eq!(directory.get("b", id).await, None);
    let start = Instant::now();
    // Looking is using, so wait without looking.
    eventually("time has passed", async || (start.elapsed() > Duration::from_millis(400)).then_some(())).await;
    assert_eq!(directory.get("a", id).await, None);
    assert_eq!(directory.stats().cache_hits.load(Ordering::Relaxed), 1);
    assert_eq!(directory.stats().misses.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn collectors_share_what_one_was_told() {
    let server = RedisServer::start();
    let (one, other) = (directory(&server), directory(&server));
    let id = Uuid::new_v4();
    assert_eq!(other.get("default", id).await, None);
    one.put("default", id, entry("orders")).await;
    // What was unknown is asked for again soon.
    eventually("shared", async || other.get("default", id).await.filter(|found| *found == entry("orders"))).await;
    assert_eq!(other.get("elsewhere", id).await, None);
    assert_eq!(other.stats().shared_hits.load(Ordering::Relaxed), 1);
    other.get("default", id).await.unwrap();
    assert_eq!(other.stats().cache_hits.load(Ordering::Relaxed), 1);

    let ttl = server.command(&format!("TTL reflow:trace:default:{id}"));
    let seconds: u64 = ttl.trim().trim_start_matches(':').parse().unwrap();
    assert!((3500..=3600).contains(&seconds), "{ttl}");
}

#[tokio::test]
async fn an_entry_in_use_does_not_run_out() {
    let server = RedisServer::start();
    let mut options = RedisOptions::new(server.url());
    options.directory.lifetime = Duration::from_secs(2);
    let (user, other) = (RedisDirectory::try_new(options.clone()).unwrap(), RedisDirectory::try_new(options).unwrap());
    let (used, unused) = (Uuid::new_v4(), Uuid::new_v4());
    user.put("default", used, entry("used")).await;
    user.put("default", unused, entry("unused")).await;
    // Longer than two lifetimes.
    let mut uses = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..50 {
        uses.tick().await;
        assert_eq!(user.get("default", used).await, Some(entry("used")));
    }
    assert_eq!(other.get("default", used).await, Some(entry("used")));
    assert_eq!(other.get("default", unused).await, None);
    assert_eq!(user.get("default", unused).await, None);
}

#[tokio::test]
async fn without_redis_the_cache_goes_on_at_once_and_redis_gets_what_it_missed() {
    let mut server = RedisServer::start();
    let (one, other) = (directory(&server), directory(&server));
    let (before, during) = (Uuid::new_v4(), Uuid::new_v4());
    one.put("default", before, entry("before")).await;
    server.kill();

    let ((), first) = timed(one.put("default", during, entry("during"))).await;
    assert!(first < Duration::from_millis(500), "the first call took {first:?}");
    let (found, took) = timed(async {
        for _ in 0..1000 {
            assert_eq!(one.get("default", before).await, Some(entry("before")));
            assert_eq!(one.get("default", Uuid::new_v4()).await, None);
        }
        one.get("default", during).await
    })
    .await;
    assert_eq!(found, Some(entry("during")));
    assert!(took < Duration::from_secs(1), "2,000 calls without redis took {took:?}");
    let stats = one.stats();
    assert!(stats.degraded.load(Ordering::Relaxed));
    assert!(stats.skipped.load(Ordering::Relaxed) >= 1000);
    assert_eq!(stats.errors.load(Ordering::Relaxed), 1);

    server.start_again();
    eventually("recovered", async || (!stats.degraded.load(Ordering::Relaxed)).then_some(())).await;
    assert_eq!(one.get("default", during).await, Some(entry("during")));
    // The other finds out by itself, too.
    eventually("shared", async || other.get("default", during).await.filter(|found| *found == entry("during"))).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_timeout() {
    let server = RedisServer::start();
    let directory = directory(&server);
    let id = Uuid::new_v4();
    directory.put("default", id, entry("orders")).await;
    server.pause();
    let (found, took) = timed(directory.get("default", Uuid::new_v4())).await;
    assert_eq!(found, None);
    assert!(took < Duration::from_millis(500), "took {took:?}");
    let ((), took) = timed(async {
        for _ in 0..100 {
            assert_eq!(directory.get("default", Uuid::new_v4()).await, None);
            directory.put("default", id, entry("billing")).await;
        }
    })
    .await;
    assert!(took < Duration::from_millis(500), "200 calls took {took:?}");
    server.resume();
    eventually("recovered", async || (!directory.stats().degraded.load(Ordering::Relaxed)).then_some(())).await;
    directory.get("default", id).await.unwrap();
    let value = server.command(&format!("GET reflow:trace:default:{id}"));
    assert!(value.contains("billing"), "{value}");
}

/// It answers, but not as calls need it: one of them finds out, and then it is left alone until it is mended.
async fn is_left_alone_until_mended(
    server: &RedisServer,
    url: String,
    spoil: impl AsyncFnOnce(),
    mend: impl AsyncFnOnce(),
) {
    let options = RedisOptions { timeout: Duration::from_millis(200), ..RedisOptions::new(url) };
    let directory = RedisDirectory::try_new(options).unwrap();
    let (stats, put) = (directory.stats(), async |id| directory.put("default", id, entry("orders")).await);
    let is_well = async || {
        put(Uuid::new_v4()).await;
        (!stats.degraded.load(Ordering::Relaxed)).then_some(())
    };
    eventually("well", is_well).await;
    let before = stats.errors.load(Ordering::Relaxed);
    spoil().await;
    let start = Instant::now();
    let mut puts = tokio::time::interval(Duration::from_millis(10));
    // Longer than the look-out's first pauses together.
    while start.elapsed() < Duration::from_secs(2) {
        puts.tick().await;
        put(Uuid::new_v4()).await;
    }
    assert_eq!(stats.errors.load(Ordering::Relaxed) - before, 1, "calls that had to wait for it");
    assert!(stats.degraded.load(Ordering::Relaxed));
    mend().await;
    eventually("well again", is_well).await;
    let id = Uuid::new_v4();
    put(id).await;
    let value = server.command(&format!("GET reflow:trace:default:{id}"));
    assert!(value.contains("orders"), "{value}");
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_left_alone() {
    let server = RedisServer::start();
    let says = async |command| drop(server.command(command));
    let (spoil, mend) = (async || says("REPLICAOF 127.0.0.1 1").await, async || says("REPLICAOF NO ONE").await);
    is_left_alone_until_mended(&server, server.url(), spoil, mend).await;
}

#[tokio::test]
async fn a_redis_that_answers_too_late_is_left_alone() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.url()).await;
    let (spoil, mend) = (async || proxy.slow_down(Duration::from_millis(120)), async || proxy.mend());
    is_left_alone_until_mended(&server, proxy.url(), spoil, mend).await;
}

#[tokio::test]
async fn what_others_wrote_there_is_unknown_and_a_wrong_url_is_told_without_secrets() {
    let server = RedisServer::start();
    let id = Uuid::new_v4();
    server.command(&format!("SET reflow:trace:default:{id} nonsense"));
    assert_eq!(directory(&server).get("default", id).await, None);

    let wrong = RedisOptions::new("redis://:secret@:::");
    assert!(!format!("{wrong:?}").contains("secret"));
    let error = RedisDirectory::try_new(wrong).err().unwrap();
    assert_eq!(error.kind, BusErrorKind::Setup);
    assert!(!error.to_string().contains("secret"), "{error}");
}
