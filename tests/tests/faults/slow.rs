//! A trace that PostgreSQL does not get done, and a PostgreSQL that gets nothing done: the one costs that trace's chunks, after long
//! enough, the other costs nothing.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, Ledger, Service, answers, events, eventually, frames::Batch, patience};
use uuid::Uuid;

use crate::settings::cluster;

const MAX_DELIVERIES: u32 = 3;

/// One writer that waits a second for PostgreSQL.
async fn impatient() -> Result<Cluster> {
    cluster()
        .collectors(1)
        .writers(1)
        .env("REFLOW_TRACING_WRITER__COMMIT_TIMEOUT_SECS", "1")
        .env("REFLOW_TRACING_BUS__NATS__MAX_DELIVERIES", MAX_DELIVERIES.to_string())
        .start()
        .await
}

async fn record(cluster: &Cluster, batches: &[Batch]) -> Result<()> {
    let mut client = cluster.collectors[0].connect_v2().await?;
    for batch in batches {
        answers::batch_recorded(&client.ask(&batch.request()).await?, batch.batch_id)?;
    }
    Ok(())
}

/// Whatever writes this trace waits for longer than anybody's patience.
async fn slow_down(cluster: &Cluster, trace_id: Uuid) -> Result<()> {
    let function = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$";
    let when = format!("FOR EACH ROW WHEN (NEW.trace_id = '{trace_id}') EXECUTE FUNCTION dawdle()");
    cluster.sql(&format!("{function}; CREATE TRIGGER dawdle BEFORE INSERT ON traces {when}")).await.map(drop)
}

async fn dead(cluster: &Cluster) -> Result<f64> {
    cluster.written("reflow_writer_dead_letters_total", &[]).await
}

#[tokio::test]
async fn a_chunk_that_keeps_postgres_from_answering_stops_no_other_and_is_kept_with_its_reason() -> Result<()> {
    let cluster = impatient().await?;
    let batches: Vec<Batch> = (0..10).map(|_| Batch::new("beside", events::program(5))).collect();
    let slow = Batch::new("slow", events::program(5));
    slow_down(&cluster, slow.trace_id).await?;
    // Together, so that they share commits.
    let mut all = batches.clone();
    all.insert(5, slow.clone());
    record(&cluster, &all).await?;
    for batch in &batches {
        cluster.trace_with(batch.trace_id, 5).await.context("beside a chunk that gets no answer")?;
    }
    eventually(patience(), || async {
        // Others are stored all the while: that makes it the chunk's own fault.
        let more = Batch::new("more", events::program(1));
        record(&cluster, std::slice::from_ref(&more)).await?;
        cluster.trace_with(more.trace_id, 1).await?;
        let dead = dead(&cluster).await?;
        ensure!(dead == 1.0, "{dead} dead letters");
        Ok(())
    })
    .await?;
    let letters = Service::writer()
        .nats(&cluster.nats)
        .postgres(&cluster.postgres.url_of("traces"))
        .arg("dead-letters")
        .run_to_end()
        .await?;
    let (trace_id, text) = (slow.trace_id.to_string(), format!("{}{}", letters.1, letters.2));
    ensure!(text.contains(&trace_id) && text.contains("statement timeout"), "{text}");
    ensure!(cluster.written("reflow_writer_dead_letters_total", &[("reason", "failing")]).await? == 1.0, "{text}");
    let stored = cluster.sql("SELECT count(*) FROM traces WHERE flow_id = 'slow'").await?;
    ensure!(stored == "0", "{stored} traces");
    Ok(())
}

#[tokio::test]
async fn a_postgres_that_answers_nobody_costs_no_chunk_however_often_they_come() -> Result<()> {
    let mut cluster = impatient().await?;
    let batches: Vec<Batch> = (0..3).map(|_| Batch::new("kept", events::program(5))).collect();
    // Takes rows, as long as they are no traces: a migration, a lock that somebody forgot.
    let locked = "BEGIN; LOCK TABLE traces IN EXCLUSIVE MODE; SELECT pg_sleep(3600)";
    let holder = cluster.sql(locked);
    let meanwhile = async {
        eventually(patience(), || async {
            let held = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'traces'::regclass AND granted";
            ensure!(cluster.sql(held).await? == "1", "the table is not locked");
            Ok(())
        })
        .await?;
        record(&cluster, &batches).await?;
        came_again(&cluster, 6 * batches.len()).await?;
        anyhow::Ok(())
    };
    tokio::select! {
        done = holder => anyhow::bail!("the lock was let go: {done:?}"),
        done = meanwhile => done?,
    }
    // It stands still, then it is gone, then it is back, lock and all forgotten.
    cluster.postgres.pause().await?;
    came_again(&cluster, batches.len()).await?;
    cluster.postgres.resume()?;
    cluster.postgres.kill9().await?;
    came_again(&cluster, batches.len()).await?;
    ensure!(dead(&cluster).await? == 0.0, "dead letters in an outage");
    cluster.postgres.restart().await?;
    let ledger = Ledger::of_acked(&batches);
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await?;
    ensure!(dead(&cluster).await? == 0.0, "dead letters after an outage");
    Ok(())
}

/// Returns once so many deliveries more were not the first of their chunk.
async fn came_again(cluster: &Cluster, times: usize) -> Result<()> {
    let redelivered = || cluster.written("reflow_writer_redelivered_chunks_total", &[]);
    let before = redelivered().await?;
    eventually(2 * patience(), || async {
        let more = redelivered().await? - before;
        ensure!(more >= times as f64, "{more} of {times} redeliveries");
        Ok(())
    })
    .await
}
