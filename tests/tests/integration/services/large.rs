//! A trace of 60 MB: through the collector it comes over the bus, in pieces, and is the same as from the query service.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Cluster, answers, events, eventually,
    frames::{self, Batch},
    patience,
};
use serde_json::Value;
use uuid::Uuid;

use super::{record_all, sent};

/// 4,000 events of 15 kB, which hardly compress: 70 chunks of the largest size that the bus takes.
const BATCHES: usize = 80;
const EVENTS_EACH: usize = 50;
const EVENT_BYTES: usize = 14_600;
const MEMORY_BYTES: u64 = 512 << 20;

async fn record(cluster: &Cluster, batches: usize) -> Result<Vec<Batch>> {
    let mut client = cluster.collectors[0].connect_v2().await?;
    let events = || (0..EVENTS_EACH).map(|_| events::large(EVENT_BYTES)).collect();
    let mut recorded: Vec<Batch> = vec![Batch::new("large", events())];
    while recorded.len() < batches {
        recorded.extend(recorded.last().map(|batch| batch.next(events())));
    }
    for some in recorded.chunks(8) {
        record_all(&mut client, some).await?;
    }
    Ok(recorded)
}

/// The answer as text, because two of 60 MB are compared before one is parsed.
async fn get(client: &mut Client, trace_id: Uuid) -> Result<String> {
    client.send_json(&frames::get_trace(trace_id)).await?;
    Ok(client.recv().await?.into_text().context("not text")?.to_string())
}

#[tokio::test]
async fn a_trace_of_60_mb_comes_whole_over_the_bus() -> Result<()> {
    let cluster = Cluster::start().await?;
    let batches = record(&cluster, BATCHES).await?;
    let trace_id = batches[0].trace_id;
    eventually(patience(), || async {
        let stored = cluster.sql("SELECT sum(events) FROM chunks").await?;
        ensure!(stored == (BATCHES * EVENTS_EACH).to_string(), "{stored} events are stored");
        Ok(())
    })
    .await?;

    let over_the_bus = get(&mut cluster.collectors[0].connect().await?, trace_id).await?;
    let direct = get(&mut cluster.queries[0].connect().await?, trace_id).await?;
    ensure!(over_the_bus.len() > 60_000_000, "only {} bytes", over_the_bus.len());
    ensure!(over_the_bus == direct, "{} bytes over the bus, {} directly, or others", over_the_bus.len(), direct.len());
    let answer: Value = serde_json::from_str(&direct).context("not JSON")?;
    let trace = answers::trace(&answer)?.context("no such trace")?;
    ensure!(answers::events(trace)? == sent(&batches), "not what was sent");
    for service in [&cluster.collectors[0], &cluster.queries[0]] {
        let peak = service.process().peak_resident_bytes()?;
        ensure!(peak < MEMORY_BYTES, "it took {} MiB of memory", peak >> 20);
    }
    Ok(())
}

#[tokio::test]
async fn a_trace_that_no_client_could_read_is_refused_with_a_way_out() -> Result<()> {
    let cluster = Cluster::start().await?;
    let batches = record(&cluster, BATCHES + 20).await?;
    for service in [&cluster.collectors[0], &cluster.queries[0]] {
        eventually(patience(), || async {
            let answer: Value = serde_json::from_str(&get(&mut service.connect().await?, batches[0].trace_id).await?)?;
            let reason = answers::refusal(&answer)?;
            ensure!(reason.contains("67108864") || reason.contains("64 MiB"), "the limit is not named: {reason}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
