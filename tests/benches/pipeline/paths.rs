//! The paths as a whole, at full rate: v2 batches and v1 frames, through both shapes of the product.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::memory::{self, beside};
use crate::meter::{Meter, Rate};
use crate::options::Options;
use crate::parts::{NATS_PATH, SQLITE_PATH};
use crate::report::{Figure, Goal, Report};
use crate::senders::{V1Sender, V2Sender};
use crate::systems::System;

const CONNECTIONS: usize = 4;
/// Batches of a connection under way: a quarter of what sessions allow at once.
const WINDOW: usize = 16;
/// Frames of a v1 connection under way.
const V1_WINDOW: usize = 2_000;
/// What the published server, which stores nothing, handled on the reference machine, events per CPU-second.
const PUBLISHED_SERVER: f64 = 66e3;
/// What rotel handled there, acking spans and throwing them away, spans per CPU-second.
const ROTEL: f64 = 290e3;

/// v2 batches through one process into SQLite.
pub async fn sqlite(options: &Options, report: &mut Report) -> Result<()> {
    let system = System::local().await?;
    let ((rate, shares), memory) = beside(&system.everything(), v2(&system, options.path_time())).await?;
    let figure = Figure::rate("v2 → standalone → SQLite, acked", &rate).note(shares);
    report.figure(figure.clone().bound(report.bound(&SQLITE_PATH)).goal(Goal::OfBound(0.6)));
    report.figure(
        Figure { name: "the same, beside rotel on the reference machine".to_owned(), ..figure }
            .goal(Goal::AtLeast(0.8 * ROTEL))
            .note("goal: 0.8 of the 290k spans/CPU-s that rotel acks and throws away there"),
    );
    memory::report(&memory, report);
    Ok(())
}

/// v2 batches through collector, NATS and writer into Postgres.
pub async fn nats(options: &Options, report: &mut Report) -> Result<()> {
    let system = System::cluster().await?;
    let ((rate, shares), memory) = beside(&system.everything(), v2(&system, options.path_time())).await?;
    report.figure(
        Figure::rate("v2 → collector → NATS → writer → Postgres, stored", &rate)
            .bound(report.bound(&NATS_PATH))
            .goal(Goal::OfBound(0.5))
            .note(shares),
    );
    memory::report(&memory, report);
    Ok(())
}

/// v1 single-event frames. No bound: each is acked by itself, and what that costs is no part that the other paths have.
pub async fn v1(options: &Options, report: &mut Report) -> Result<()> {
    for (name, system) in [
        ("v1 frames → standalone → SQLite, acked", System::local().await?),
        ("v1 frames → collector → NATS → writer → Postgres, stored", System::cluster().await?),
    ] {
        let load = v1_frames(&system, options.path_time());
        let ((rate, shares), memory) = beside(&system.everything(), load).await?;
        report.figure(Figure::rate(name, &rate).goal(Goal::AtLeast(PUBLISHED_SERVER)).note(shares));
        memory::report(&memory, report);
    }
    Ok(())
}

async fn v1_frames(system: &System, time: Duration) -> Result<(Rate, String)> {
    let before = system.stats().await?.events;
    let mut senders = Vec::new();
    for seed in 0..CONNECTIONS as u64 {
        senders.push(V1Sender::connect(&system.ingest_url(), seed).await?);
    }
    let meter = Meter::start(&system.processes())?;
    let acked = all(senders.into_iter().map(|sender| sender.run(time, V1_WINDOW))).await?;
    system.settled().await?;
    let outcome = meter.stop(acked)?;
    let stored = system.stats().await?.events - before;
    ensure!(stored == acked, "{acked} events were acked and {stored} are stored");
    Ok(outcome)
}

async fn v2(system: &System, time: Duration) -> Result<(Rate, String)> {
    let mut senders = Vec::new();
    for seed in 0..CONNECTIONS as u64 {
        senders.push(V2Sender::connect(&system.ingest_url(), seed).await?);
    }
    let meter = Meter::start(&system.processes())?;
    let acked = all(senders.into_iter().map(|sender| sender.run(time, WINDOW))).await?;
    system.settled().await?;
    let outcome = meter.stop(acked)?;
    let stored = system.stats().await?.events;
    ensure!(stored == acked, "{acked} events were acked and {stored} are stored");
    Ok(outcome)
}

/// Runs all senders at once; how many events they had acked.
async fn all(senders: impl Iterator<Item = impl Future<Output = Result<u64>> + Send + 'static>) -> Result<u64> {
    let tasks = try_join_all(senders.map(tokio::spawn)).await?;
    Ok(tasks.into_iter().collect::<Result<Vec<_>>>()?.into_iter().sum())
}
