//! The stores: commits of 50 chunks of 200 events.

use anyhow::{Result, ensure};
use chrono::Utc;
use reflow_tracing_chunk::{Chunk, Origin};
use reflow_tracing_store::StoreWriter;
use reflow_tracing_tests::Process;

use super::{POSTGRES, SQLITE};
use crate::backend::{PostgresBackend, SqliteBackend};
use crate::load::{BATCH_EVENTS, Load, TRACE_BATCHES, again, now_us};
use crate::meter::{Meter, Rate};
use crate::options::Options;
use crate::report::Report;

const COMMIT_CHUNKS: usize = 50;

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let chunks = chunks(options.pick(10_000, 200))?;

    let sqlite = SqliteBackend::new()?;
    let store = sqlite.open().await?;
    report.part(SQLITE, commit(&store, &chunks, &[]).await?);
    store.close().await;

    let postgres = PostgresBackend::start().await?;
    let store = postgres.open().await?;
    report.part(POSTGRES, commit(&store, &chunks, &[("postgres", postgres.process())]).await?);
    Ok(())
}

/// Chunks of traces of [`TRACE_BATCHES`] chunks each.
fn chunks(count: usize) -> Result<Vec<Chunk>> {
    let mut load = Load::new(3, Utc::now());
    let some = load.batches(50);
    let some = some.iter().map(|batch| batch.chunk(Origin::V2Batch, now_us())).collect::<Result<Vec<_>>>()?;
    let mut trace_id = load.uuid();
    Ok((0..count)
        .map(|index| {
            if index % TRACE_BATCHES == 0 {
                trace_id = load.uuid();
            }
            again(&some[index % some.len()], trace_id)
        })
        .collect())
}

async fn commit(store: &dyn StoreWriter, chunks: &[Chunk], others: &[(&'static str, &Process)]) -> Result<Rate> {
    let meter = Meter::start(others)?;
    for group in chunks.chunks(COMMIT_CHUNKS) {
        let outcome = store.commit(group, now_us()).await?;
        ensure!(outcome.stored == group.len(), "{} of {} chunks were new", outcome.stored, group.len());
    }
    Ok(meter.stop((chunks.len() * BATCH_EVENTS) as u64)?.0)
}
