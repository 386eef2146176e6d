//! Compaction beside commits, redeliveries and faults: it changes rows, and no count.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reflow_tracing_tests::{
    Client, Ledger, Load, answers, events, eventually,
    frames::{self, Batch},
    load::Options,
    patience,
};
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    settings::{rounds_or, seeded},
    system::System,
};

const ROUNDS: usize = 5;
const PROGRESS: usize = 20;

/// Many small traces: there is always something to merge.
pub fn small_traces(seed: u64) -> Options {
    Options { batch_events: 4, trace_batches: 5, pace: Duration::from_millis(10), seed, ..Options::default() }
}

#[tokio::test]
async fn compaction_of_sqlite_changes_no_count_whatever_dies() -> Result<()> {
    seeded(async |seed| batches_stay_counted(System::sqlite().await?, seed).await).await
}

#[tokio::test]
async fn compaction_of_postgres_changes_no_count_whatever_dies() -> Result<()> {
    seeded(async |seed| batches_stay_counted(System::postgres().await?, seed).await).await
}

async fn batches_stay_counted(mut system: System, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let early: Vec<Batch> = (0..20).map(|_| Batch::new("early", events::program(3))).collect();
    send_all(&system, &early).await?;
    let early_sent = Ledger::of_acked(&early);
    let load = Load::start(system.urls(), &small_traces(seed));
    for number in 0..rounds_or(ROUNDS)? {
        load.progress(PROGRESS).await?;
        sleep(Duration::from_millis(random.random_range(0..1_200))).await;
        let struck = system.strike(&mut random).await?;
        let check = async {
            load.progress(PROGRESS).await?;
            let mut sent = load.rest(patience()).await?;
            sent.add(&early_sent);
            check_counts(&system, &sent).await
        };
        check.await.with_context(|| format!("round {number}: {struck}"))?;
        println!("round {number}: {struck}");
        load.resume();
    }
    let mut sent = load.finish(patience()).await?;
    sent.add(&early_sent);
    compacted(&system).await?;
    let (chunks, batches) = (system.tables().chunks().await?.len(), sent.batches_sent());
    ensure!(chunks < batches / 2, "{chunks} chunks are left of {batches} batches");
    // What is packed away is known again.
    send_all(&system, &early).await?;
    check_counts(&system, &sent).await?;
    sent.check_all(system.tables(), system.reader()).await
}

async fn send_all(system: &System, batches: &[Batch]) -> Result<()> {
    let mut client = Client::connect_v2(&system.urls()[0]).await?;
    for batch in batches {
        answers::batch_recorded(&client.ask(&batch.request()).await?, batch.batch_id)?;
    }
    Ok(())
}

async fn check_counts(system: &System, sent: &Ledger) -> Result<()> {
    let tables = system.tables();
    sent.check_counts(tables).await?;
    tables.check_agreement().await?;
    let remembered = tables.remembered_ids().await?;
    ensure!(remembered == sent.batches_sent() as u64, "{remembered} ids for {} batches", sent.batches_sent());
    Ok(())
}

/// Returns once compaction has nothing more to do.
async fn compacted(system: &System) -> Result<()> {
    eventually(patience(), || async {
        let loose = system.tables().loose_traces().await?;
        ensure!(loose == 0, "{loose} traces are not compacted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn single_events_sent_twice_count_once_after_compaction_of_sqlite() -> Result<()> {
    seeded(async |seed| single_events_count_once(System::sqlite().await?, seed).await).await
}

#[tokio::test]
async fn single_events_sent_twice_count_once_after_compaction_of_postgres() -> Result<()> {
    seeded(async |seed| single_events_count_once(System::postgres().await?, seed).await).await
}

/// A v1 program that was not answered sends again what may be stored already, perhaps when it is compacted.
async fn single_events_count_once(mut system: System, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let trace_id = Uuid::now_v7();
    let mut sent: Vec<Value> = Vec::new();
    for number in 0..rounds_or(4)? {
        let events = events::program(random.random_range(20..200));
        let mut client = connect(&system, trace_id).await?;
        for event in &events {
            client.send_json(&frames::record_event(trace_id, event)).await?;
        }
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        let struck = system.strike(&mut random).await?;
        let again = async {
            let mut client = connect(&system, trace_id).await?;
            for event in &events {
                answers::recorded(&client.ask(&frames::record_event(trace_id, event)).await?)?;
            }
            anyhow::Ok(())
        };
        again.await.with_context(|| format!("round {number}: {struck}"))?;
        sent.extend(events);
    }
    compacted(&system).await?;
    eventually(patience(), || async {
        let counted = system.tables().summaries().await?.get(&trace_id).copied();
        ensure!(counted == Some(sent.len() as u64), "{counted:?} events are counted, {} were sent", sent.len());
        Ok(())
    })
    .await?;
    system.tables().check_agreement().await?;
    let answer = system.reader().connect().await?.ask(&frames::get_trace(trace_id)).await?;
    let stored = answers::events(answers::trace(&answer)?.context("no trace")?)?;
    let ids: BTreeSet<&str> = sent.iter().map(events::id).collect();
    ensure!(stored.keys().map(String::as_str).eq(ids), "{} events are told, {} were sent", stored.len(), sent.len());
    Ok(())
}

/// A session that has started the trace under its id; collectors that are just back may take a moment.
async fn connect(system: &System, trace_id: Uuid) -> Result<Client> {
    eventually(patience(), || async {
        let mut client = Client::connect(&system.urls()[0]).await?;
        answers::started(&client.ask(&frames::start_trace_with_id(trace_id, "singles")).await?)?;
        Ok(client)
    })
    .await
}
