//! Kill -9 and pauses at random moments, under load; after each of them everything is counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use reflow_tracing_tests::{Cluster, Ledger, Load, answers, eventually, frames, load::Options, patience};
use tokio::time::sleep;

use crate::{
    settings::{cluster, rounds_or, seeded},
    strike::{Fault, Victim, strike},
};

const ROUNDS: usize = 22;
/// How many acknowledgements show that load flows again after a fault.
const PROGRESS: usize = 20;

#[tokio::test]
async fn nothing_is_lost_or_doubled_whatever_dies_at_whatever_moment() -> Result<()> {
    seeded(rounds).await
}

async fn rounds(seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = rounds_or(ROUNDS)?;
    let mut cluster = cluster().start().await?;
    let load = Load::start(cluster.collector_urls(), &Options { seed, ..Options::default() });
    let mut checked = Ledger::default();
    for (number, (victim, fault)) in plan(rounds, &mut random).into_iter().enumerate() {
        let round = async {
            load.progress(PROGRESS).await?;
            sleep(Duration::from_millis(random.random_range(0..300))).await;
            strike(&mut cluster, victim, fault, &mut random).await?;
            load.progress(PROGRESS).await?;
            check_history(&cluster).await?;
            check_everything(&load, &cluster, &checked).await
        };
        let began = std::time::Instant::now();
        checked = round.await.with_context(|| format!("round {number}: {fault:?} {victim:?}"))?;
        let (events, seconds) = (checked.events_sent(), began.elapsed().as_secs_f64());
        println!("round {number}: {fault:?} {victim:?}, {seconds:.1} s, {events} events so far");
    }
    let ledger = load.finish(patience()).await?;
    println!("{} batches of {} events", ledger.batches_sent(), ledger.events_sent());
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

/// Load rests until all that was sent is acknowledged; then every count must be that of what was sent. Counts are cheap and
/// checked over everything; traces are read whole, so only those that have grown since the last look.
async fn check_everything(load: &Load, cluster: &Cluster, checked: &Ledger) -> Result<Ledger> {
    let ledger = load.rest(patience()).await?;
    ledger.check_batches(&cluster.postgres).await?;
    ledger.check_counts(&cluster.postgres).await?;
    ledger.since(checked).check_traces(&cluster.queries[0]).await?;
    load.resume();
    Ok(ledger)
}

/// Every fault of every victim equally often, in random order.
fn plan(rounds: usize, random: &mut StdRng) -> Vec<(Victim, Fault)> {
    let victims = [Victim::Collector, Victim::Writer, Victim::Query, Victim::Nats, Victim::Postgres];
    let mut plan: Vec<_> = [Fault::Kill, Fault::Pause]
        .into_iter()
        .flat_map(|fault| victims.map(|victim| (victim, fault)))
        .cycle()
        .take(rounds)
        .collect();
    plan.shuffle(random);
    plan
}

/// Every collector gets its answers again.
async fn check_history(cluster: &Cluster) -> Result<()> {
    for collector in &cluster.collectors {
        eventually(patience(), || async {
            let query = frames::query_traces(&frames::Query::all().limit(1));
            let answer = collector.connect().await?.ask(&query).await?;
            ensure!(answers::found(&answer)?.1 > 0, "there are no traces");
            Ok(())
        })
        .await
        .context("history does not answer")?;
    }
    Ok(())
}
