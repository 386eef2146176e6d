//! A server that is there and cannot store: the bus behind a collector stands still, or is gone. The connection stands, and nothing is acked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, WhenFull};
use reflow_tracing_protocol::{FlowId, TraceId};
use reflow_tracing_tests::{Cluster, patience};
use serde_json::json;
use tempfile::TempDir;

use crate::scene::{config, event, noise, version};

const BUFFER_BYTES: usize = 4 << 20;
/// Of each event, and no codec makes it much smaller.
const NOISE_BYTES: usize = 2_000;
/// Three times as much as the buffer holds.
const EVENTS: usize = 6_000;

/// A program with a small buffer and a spool, before a collector.
struct Program {
    client: Arc<TracingClient>,
    trace_id: TraceId,
    recorded: usize,
    _spool: TempDir,
}

impl Program {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let client = TracingClient::builder(config(&cluster.collectors[0].url()))
            .spool(folder.path().join("spool"))
            .buffer_bytes(BUFFER_BYTES)
            // So that nothing depends on how fast the machine is: without room this waits for ever.
            .when_full(WhenFull::Wait)
            .build()?;
        client.connect_within(patience()).await?;
        let trace_id = client.start_trace(FlowId::new("stalled"), version()).await?;
        let mut program = Self { client: Arc::new(client), trace_id, recorded: 0, _spool: folder };
        program.record(100).await?;
        program.client.flush_within(patience()).await?;
        Ok(program)
    }

    /// Records three times as much as the buffer holds, which the collector does not ack, and which goes to the disk.
    async fn records_on(&mut self) -> Result<()> {
        self.record(EVENTS).await?;
        let undelivered =
            self.client.flush_within(Duration::from_millis(300)).await.expect_err("nobody can have acked");
        assert_eq!((undelivered.events, undelivered.spooled), (EVENTS as u64, EVENTS as u64), "{undelivered}");
        ensure!(self.client.is_connected(), "{:?}", self.client.last_error());
        Ok(())
    }

    async fn record(&mut self, events: usize) -> Result<()> {
        let (all, client) = (self.recorded + events, &self.client);
        while self.recorded < all {
            let mut event = event(self.recorded);
            event.data.custom_attributes.insert("noise".to_owned(), json!(noise(NOISE_BYTES)));
            let recording = client.record_event(self.trace_id.clone(), event);
            let waited = tokio::time::timeout(patience(), recording).await;
            ensure!(waited.is_ok(), "no room after {} events: {:?}", self.recorded, client.metrics());
            self.recorded += 1;
        }
        Ok(())
    }

    /// Looks at the memory, all the time, until it is dropped.
    fn watch(&self) -> Watch {
        let (client, over) = (Arc::clone(&self.client), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&over);
        let most = std::thread::spawn(move || {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = client.metrics().buffered_bytes.max(most);
                // Often enough to see it, and the processor is free for those who are watched.
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Watch { over, most }
    }

    /// Everything recorded is stored, once.
    async fn is_stored(&self, cluster: &Cluster) -> Result<()> {
        self.client.flush_within(patience()).await?;
        let metrics = self.client.metrics();
        assert_eq!((metrics.events_acked, metrics.events_dropped()), (self.recorded as u64, 0));
        ensure!(metrics.spool_bytes < 100, "the spool is not empty: {metrics:?}");
        cluster.trace_with(self.trace_id.0, self.recorded).await?;
        Ok(())
    }
}

struct Watch {
    over: Arc<AtomicBool>,
    most: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn most(self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.most.join().map_err(|_| anyhow::anyhow!("the watch panicked"))
    }
}

fn stays_small(most: u64) -> Result<()> {
    // What is recorded is checked; a batch while it is made is counted on top.
    let limit = BUFFER_BYTES as u64 + (1 << 20);
    ensure!(most <= limit, "{most} of {limit} bytes in memory");
    Ok(())
}

#[tokio::test]
async fn while_the_bus_stands_still_the_disk_is_taken_and_not_the_memory() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut program = Program::start(&cluster).await?;
    let watch = program.watch();
    cluster.nats.pause().await?;
    program.records_on().await?;
    cluster.nats.resume()?;
    program.is_stored(&cluster).await?;
    stays_small(watch.most()?)
}

#[tokio::test]
async fn while_the_bus_is_gone_the_disk_is_taken_and_not_the_memory() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let mut program = Program::start(&cluster).await?;
    let watch = program.watch();
    cluster.nats.kill9().await?;
    program.records_on().await?;
    cluster.nats.restart().await?;
    program.is_stored(&cluster).await?;
    stays_small(watch.most()?)
}

#[tokio::test]
async fn a_stall_longer_than_a_server_may_be_silent_costs_no_connection() -> Result<()> {
    let cluster = Cluster::build().env("REFLOW_TRACING_LIMITS__PING_INTERVAL_SECS", "1").start().await?;
    let silence = Duration::from_secs(3);
    let client = TracingClient::builder(config(&cluster.collectors[0].url())).silence_timeout(silence).build()?;
    let trace_id = client.start_trace(FlowId::new("stalled"), version()).await?;
    client.record_event(trace_id.clone(), event(0)).await?;
    client.flush_within(patience()).await?;
    cluster.nats.pause().await?;
    client.record_event(trace_id.clone(), event(1)).await?;
    // No answer can come, be it to the client's own question for a sign of life: answers come in order. Pings do.
    client.flush_within(3 * silence).await.expect_err("nobody can have acked");
    let metrics = client.metrics();
    assert_eq!((metrics.connections, metrics.connections_lost), (1, 0), "{:?}", client.last_error());
    cluster.nats.resume()?;
    client.flush_within(patience()).await?;
    cluster.trace_with(trace_id.0, 2).await?;
    Ok(())
}
