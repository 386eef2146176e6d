//! Once means once: however often a batch is sent, through whichever collector, whatever has become of its rows since.

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use reflow_tracing_tests::{
    Cluster, Tables, answers, eventually,
    frames::{self, Batch},
    patience,
    tables::Counts,
};

use super::{batches, record_all, sent};

const DUPLICATES: &str = "reflow_writer_duplicate_chunks_total";

/// The bus forgets chunk ids after a second, so that it is the store's memory that is tested.
async fn two_collectors(settings: &[(&str, &str)]) -> Result<Cluster> {
    let cluster = Cluster::build().collectors(2).env("REFLOW_TRACING_BUS__NATS__DUPLICATE_WINDOW_SECS", "1");
    settings.iter().fold(cluster, |cluster, (key, value)| cluster.env(key, *value)).start().await
}

/// Sends batches through every collector, again and again until the writers have met each of them again.
async fn send_until_met_again(cluster: &Cluster, batches: &[Batch]) -> Result<()> {
    let before = cluster.written(DUPLICATES, &[]).await?;
    eventually(patience(), || async {
        for collector in &cluster.collectors {
            record_all(&mut collector.connect_v2().await?, batches).await?;
        }
        let met = cluster.written(DUPLICATES, &[]).await? - before;
        ensure!(met >= batches.len() as f64, "the writers met {met} of {} batches again", batches.len());
        Ok(())
    })
    .await
}

async fn ensure_counted(cluster: &Cluster, events: u64) -> Result<()> {
    let counted = Tables::from(&cluster.postgres).counts().await?;
    ensure!(counted == Counts { rows: events, summaries: events, rollups: events }, "{counted:?}");
    Ok(())
}

#[tokio::test]
async fn batches_of_one_trace_through_two_collectors_are_one_trace() -> Result<()> {
    let cluster = two_collectors(&[]).await?;
    let batches = batches("split", 20, 50);
    let (mut one, mut two) = (cluster.collectors[0].connect_v2().await?, cluster.collectors[1].connect_v2().await?);
    tokio::try_join!(record_all(&mut one, &batches[..10]), record_all(&mut two, &batches[10..]))?;

    let trace = cluster.trace_with(batches[0].trace_id, 1_000).await?;
    ensure!(answers::events(&trace)? == sent(&batches), "not what was sent");
    ensure!(trace["flow_id"] == "split", "{}", trace["flow_id"]);
    for collector in &cluster.collectors {
        ensure!(Cluster::trace_from(collector, batches[0].trace_id, 1_000).await? == trace, "told otherwise");
    }
    ensure_counted(&cluster, 1_000).await
}

#[tokio::test]
async fn a_batch_sent_three_times_to_different_collectors_counts_once() -> Result<()> {
    let cluster = two_collectors(&[]).await?;
    let batches = batches("thrice", 5, 20);
    for collector in [0, 1, 0] {
        record_all(&mut cluster.collectors[collector].connect_v2().await?, &batches).await?;
    }
    cluster.trace_with(batches[0].trace_id, 100).await?;
    send_until_met_again(&cluster, &batches).await?;

    let trace = cluster.trace_with(batches[0].trace_id, 100).await?;
    ensure!(answers::events(&trace)? == sent(&batches), "not what was sent");
    ensure_counted(&cluster, 100).await
}

#[tokio::test]
async fn a_batch_sent_again_after_compaction_counts_once() -> Result<()> {
    let cluster = two_collectors(&[
        ("REFLOW_TRACING_RETENTION__TRACE_IDLE_SECS", "1"),
        ("REFLOW_TRACING_RETENTION__COMPACTION_AFTER_SECS", "0"),
        ("REFLOW_TRACING_RETENTION__COMPACTION_INTERVAL_SECS", "1"),
    ])
    .await?;
    let batches = batches("compacted", 10, 20);
    record_all(&mut cluster.collectors[0].connect_v2().await?, &batches).await?;
    eventually(patience(), || async {
        let rows = cluster.sql("SELECT count(*), sum(events) FROM chunks").await?;
        ensure!(rows == "1|200", "rows and events are {rows}");
        Ok(())
    })
    .await?;

    send_until_met_again(&cluster, &batches).await?;

    let trace = cluster.trace_with(batches[0].trace_id, 200).await?;
    ensure!(answers::events(&trace)? == sent(&batches), "not what was sent");
    ensure_counted(&cluster, 200).await
}

#[tokio::test]
async fn a_batch_sent_again_after_retention_stays_gone() -> Result<()> {
    let cluster = two_collectors(&[
        ("REFLOW_TRACING_RETENTION__MAX_AGE_DAYS", "1"),
        ("REFLOW_TRACING_RETENTION__COMPACTION_INTERVAL_SECS", "1"),
    ])
    .await?;
    let (old, new) = (batches("removed", 3, 20), batches("kept", 3, 20));
    record_all(&mut cluster.collectors[0].connect_v2().await?, &old).await?;
    cluster.trace_with(old[0].trace_id, 60).await?;
    // Three days pass for what is stored: the same rows as if they had been written then.
    let day = cluster.sql("SELECT max(day) - 3 FROM chunks").await?;
    let partition = format!(
        "CREATE TABLE chunks_{} PARTITION OF chunks FOR VALUES FROM ({day}) TO ({})",
        name_of(&day)?,
        day.parse::<i64>()? + 1
    );
    let passed = ["chunks", "chunk_hours", "seen"].map(|table| format!("; UPDATE {table} SET day = {day}")).concat();
    // In one transaction, because retention runs every second.
    cluster.sql(&format!("{partition}{passed}")).await?;
    eventually(patience(), || async {
        let left = cluster.sql("SELECT count(*) FROM traces").await?;
        ensure!(left == "0", "{left} traces are left");
        Ok(())
    })
    .await?;

    // Rollups go by the minutes of their events, which were today.
    let before = Tables::from(&cluster.postgres).counts().await?;
    ensure!((before.rows, before.summaries) == (0, 0), "{before:?}");

    send_until_met_again(&cluster, &old).await?;
    record_all(&mut cluster.collectors[1].connect_v2().await?, &new).await?;

    cluster.trace_with(new[0].trace_id, 60).await?;
    let answer = cluster.queries[0].connect().await?.ask(&frames::get_trace(old[0].trace_id)).await?;
    ensure!(answers::trace(&answer)?.is_none(), "what was removed has come back: {answer:.300}");
    let counted = Tables::from(&cluster.postgres).counts().await?;
    let expected = Counts { rows: 60, summaries: 60, rollups: before.rollups + 60 };
    ensure!(counted == expected, "{counted:?}, before {before:?}");
    Ok(())
}

/// What the writer calls the partition of a day.
fn name_of(day: &str) -> Result<String> {
    let seconds = day.parse::<i64>()? * 86_400;
    Ok(DateTime::from_timestamp(seconds, 0).context("no such day")?.format("%Y%m%d").to_string())
}
