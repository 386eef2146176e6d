//! Retention beside commits, compaction and faults: what is too old goes whole, and what stays is whole.
//!
//! Nothing gets old within a test, so rows are moved back by some days while nobody writes.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reflow_tracing_tests::{Ledger, Load, Tables, answers, eventually, frames, patience};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    compaction::small_traces,
    settings::{rounds_or, seeded},
    system::System,
};

const ROUNDS: usize = 2;
/// More than the age that `UPKEEP` allows, wherever in the day a test runs.
const DAYS_AGO: i64 = 5;

#[tokio::test]
async fn what_retention_of_sqlite_leaves_is_whole_whatever_dies() -> Result<()> {
    seeded(async |seed| what_is_left_is_whole(System::sqlite().await?, seed).await).await
}

#[tokio::test]
async fn what_retention_of_postgres_leaves_is_whole_whatever_dies() -> Result<()> {
    seeded(async |seed| what_is_left_is_whole(System::postgres().await?, seed).await).await
}

async fn what_is_left_is_whole(mut system: System, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = Ledger::default();
    for number in 0..rounds_or(ROUNDS)? as u64 {
        // Some of it is compacted by then.
        let load = Load::start(system.urls(), &small_traces(seed ^ (2 * number)));
        load.progress(200).await?;
        sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        sent.add(&load.finish(patience()).await?);
        counted(&system, &sent).await?;

        system.kill_writers().await?;
        let mut left = age(system.tables()).await?;
        ensure!(left.values().any(|events| *events == 0), "no trace is old");
        left.retain(|_, events| *events > 0);
        ensure!(!left.is_empty(), "every trace is old");
        system.start_writers().await?;

        let load = Load::start(system.urls(), &small_traces(seed ^ (2 * number + 1)));
        let mut struck = Vec::new();
        for _ in 0..2 {
            sleep(Duration::from_millis(random.random_range(0..400))).await;
            struck.push(system.strike(&mut random).await?);
            load.progress(10).await?;
        }
        let new = load.finish(patience()).await?;
        left.extend(new.traces().into_iter().map(|(trace_id, events)| (trace_id, events.len() as u64)));
        sent.add(&new);
        check(&system, &sent, &left).await.with_context(|| format!("round {number}: {struck:?}"))?;
        println!("round {number}: {struck:?}, {} of {} traces are left", left.len(), sent.traces().len());
    }
    Ok(())
}

/// Returns once everything that was sent is in the store. Rollups say it also of what retention has removed.
async fn counted(system: &System, sent: &Ledger) -> Result<()> {
    eventually(patience(), || async {
        let counted = system.tables().counts().await?.rollups;
        ensure!(counted == sent.events_sent(), "{counted} events were stored, {} sent", sent.events_sent());
        Ok(())
    })
    .await
}

/// Moves back a third of the traces, and about half of the chunks of another third, over the hours of a day. How many events of
/// each trace are not old then.
async fn age(tables: Tables<'_>) -> Result<BTreeMap<Uuid, u64>> {
    let (before, byte, columns, slot) = match tables {
        Tables::Sqlite(_) => ("", "unicode(substr(hex(chunk_id), -1))", "", ""),
        Tables::Postgres(_) => (
            "DO $$ DECLARE old bigint; BEGIN
                 FOR old IN SELECT DISTINCT day - 5 FROM chunks LOOP
                     EXECUTE format('CREATE TABLE chunks_%s PARTITION OF chunks FOR VALUES FROM (%s) TO (%s)',
                         to_char(date '1970-01-01' + old::int, 'YYYYMMDD'), old, old + 1);
                 END LOOP;
             END $$;",
            "get_byte(uuid_send(chunk_id), 15)",
            ", slot",
            ", 0",
        ),
    };
    let old = format!("trace % 3 = 0 OR (trace % 3 = 1 AND {byte} % 2 = 0)");
    let hours = "count(*), sum(events), sum(length(payload)) FROM chunks GROUP BY day, hour";
    tables
        .change(&format!(
            "{before} UPDATE chunks SET day = day - {DAYS_AGO}, hour = {byte} % 24 WHERE {old};
             DELETE FROM chunk_hours;
             INSERT INTO chunk_hours (day, hour{columns}, chunks, events, bytes) SELECT day, hour{slot}, {hours};"
        ))
        .await?;
    tables.events_within(2).await
}

/// The summaries are those of `left`, with as many events, which are all there; whatever else there was is gone without a trace.
async fn check(system: &System, sent: &Ledger, left: &BTreeMap<Uuid, u64>) -> Result<()> {
    let tables = system.tables();
    eventually(patience(), || async {
        let stored = tables.stored_events().await?;
        let wrong = left.iter().find(|(trace_id, events)| stored.get(*trace_id) != Some(*events));
        if let Some((trace_id, events)) = wrong {
            anyhow::bail!("trace {trace_id} has {:?} events, {events} must be left", stored.get(trace_id));
        }
        ensure!(stored.len() == left.len(), "{} traces are there, {} must be left", stored.len(), left.len());
        Ok(())
    })
    .await?;
    counted(system, sent).await?;
    tables.check_agreement().await?;
    let (summaries, sent) = (tables.summaries().await?, sent.traces());
    let mut client = system.reader().connect().await?;
    for (trace_id, events) in &sent {
        let answer = client.ask(&frames::get_trace(*trace_id)).await?;
        let Some(expected) = left.get(trace_id) else {
            ensure!(answers::trace(&answer)?.is_none(), "trace {trace_id} is told although it is gone");
            continue;
        };
        // A summary says how many there were.
        let counted = summaries.get(trace_id).copied();
        ensure!(counted == Some(events.len() as u64), "trace {trace_id}: the summary counts {counted:?}");
        let stored = answers::events(answers::trace(&answer)?.context("a trace that must be left is not told")?)?;
        ensure!(stored.len() as u64 == *expected, "trace {trace_id}: {} events of {expected} are told", stored.len());
        ensure!(stored.keys().all(|event| events.contains(event.as_str())), "trace {trace_id}: events nobody sent");
    }
    Ok(())
}
