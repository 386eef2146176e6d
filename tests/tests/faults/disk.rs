//! A full disk: nothing is acknowledged that is not kept, the operator reads the reason, and once there is room all goes
//! on without a restart of ours.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Cluster, Ledger, Load, NatsServer, Postgres, Service, SmallDisk, answers, cluster::DATABASE, events,
    eventually, frames::Batch, http, load::Options, patience,
};

use crate::settings::cluster;

/// Batches that hardly compress: each takes its room.
fn large() -> Batch {
    Batch::new("disk", (0..10).map(|_| events::large(10_000)).collect())
}

async fn ensure_recorded(client: &mut Client, batch: &Batch) -> Result<()> {
    let answer = client.recv_json().await?;
    let recorded = answers::batch_recorded(&answer, batch.batch_id)?;
    ensure!(recorded == (batch.events.len() as u64, vec![]), "{answer:.300}");
    Ok(())
}

async fn commits_that_found_the_disk_full(service: &Service) -> Result<()> {
    eventually(patience(), || async {
        let full = service.metrics().await?.sum("reflow_writer_commits_total", &[("result", "full")]);
        ensure!(full.unwrap_or(0.0) >= 1.0, "commits that found the store full: {full:?}");
        Ok(())
    })
    .await?;
    let log = service.process().log()?.to_lowercase();
    ensure!(log.contains("full") || log.contains("no space"), "the log does not say why:\n{log}");
    ensure!(http::get(service.admin_port(), "/readyz").await?.status == 200, "out of rotation");
    Ok(())
}

#[tokio::test]
async fn sqlite_on_a_full_disk_refuses_nobody_and_goes_on_when_there_is_room() -> Result<()> {
    let disk = SmallDisk::mount(16)?;
    let database = disk.path().join("traces.db");
    let mut service = Service::standalone().sqlite(&database).start().await?;
    let (before, during) = (large(), large());
    let mut client = service.connect_v2().await?;
    client.send_json(&before.request()).await?;
    ensure_recorded(&mut client, &before).await?;

    disk.fill(0)?;
    client.send_json(&during.request()).await?;
    commits_that_found_the_disk_full(&service).await?;
    let early = client.recv_json_within(Duration::from_millis(100)).await?;
    ensure!(early.is_none(), "answered although nothing could be kept: {early:?}");
    // History still answers.
    Cluster::trace_from(&service, before.trace_id, 10).await?;

    disk.make_room()?;
    ensure_recorded(&mut client, &during).await.context("there is room again")?;
    service.restart().await?;
    for batch in [&before, &during] {
        let trace = Cluster::trace_from(&service, batch.trace_id, 10).await?;
        ensure!(answers::events(&trace)? == answers::by_id(&batch.events), "not what was sent");
    }
    // Sent again, as by a client who did not wait: what failed half-way counts once.
    let mut client = service.connect_v2().await?;
    for batch in [&before, &during] {
        client.send_json(&batch.request()).await?;
        ensure_recorded(&mut client, batch).await?;
    }
    let ledger = Ledger::of_acked(&[before, during]);
    ledger.check_batches(database.as_path()).await?;
    ledger.check_all(database.as_path(), &service).await
}

#[tokio::test]
async fn postgres_on_a_full_disk_leaves_chunks_in_the_bus_until_there_is_room() -> Result<()> {
    let disk = SmallDisk::mount(48)?;
    let folder = disk.path().join("tables");
    std::fs::create_dir(&folder)?;
    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    postgres.create_database_in(DATABASE, &folder).await?;
    let cluster = cluster().collectors(1).writers(1).start_on(nats, postgres).await?;
    let mut client = cluster.collectors[0].connect_v2().await?;
    let before = large();
    client.send_json(&before.request()).await?;
    ensure_recorded(&mut client, &before).await?;
    cluster.trace_with(before.trace_id, 10).await?;

    disk.fill(0)?;
    let during: Vec<Batch> = (0..20).map(|_| large()).collect();
    for batch in &during {
        client.send_json(&batch.request()).await?;
        // Kept by the bus, which has a disk of its own.
        ensure_recorded(&mut client, batch).await?;
    }
    commits_that_found_the_disk_full(&cluster.writers[0]).await?;
    cluster.trace_with(before.trace_id, 10).await.context("history while the disk is full")?;

    disk.make_room()?;
    for batch in &during {
        let trace = cluster.trace_with(batch.trace_id, 10).await.context("there is room again")?;
        ensure!(answers::events(&trace)? == answers::by_id(&batch.events), "not what was sent");
    }
    let dead = cluster.written("reflow_writer_dead_letters_total", &[]).await?;
    ensure!(dead == 0.0, "{dead} chunks were given up");
    let all: Vec<Batch> = std::iter::once(before).chain(during).collect();
    let ledger = Ledger::of_acked(&all);
    ledger.check_batches(&cluster.postgres).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

/// The chunk stream has a size so that this does not happen: it should be less than the disk has.
#[tokio::test]
async fn jetstream_on_a_full_disk_acknowledges_nothing_it_did_not_keep() -> Result<()> {
    let disk = SmallDisk::mount(16)?;
    // Larger than the disk, so that it is the disk that is full and not the stream.
    let (nats, postgres) =
        tokio::try_join!(NatsServer::start_in(disk.path(), "jetstream { max_file_store: 4GB }"), Postgres::start())?;
    postgres.create_database(DATABASE).await?;
    let mut cluster = cluster().start_on(nats, postgres).await?;
    // Nobody takes anything out while the disk fills.
    for writer in &mut cluster.writers {
        writer.terminate().await?;
    }
    let options = Options { batch_events: 100, pace: Duration::from_millis(5), ..Options::default() };
    let load = Load::start(cluster.collector_urls(), &options);
    eventually(patience(), || async {
        ensure!(load.batches_acked() >= 20, "no load");
        Ok(())
    })
    .await?;
    disk.fill(0)?;
    let collector = &cluster.collectors[0];
    eventually(patience(), || async {
        let metrics = collector.metrics().await?;
        let retries = metrics.sum("reflow_bus_publish_retries_total", &[]).unwrap_or(0.0)
            + metrics.sum("reflow_bus_full_waits_total", &[]).unwrap_or(0.0);
        ensure!(retries >= 1.0, "the bus takes everything");
        Ok(())
    })
    .await?;
    for collector in &cluster.collectors {
        ensure!(http::get(collector.admin_port(), "/readyz").await?.status == 200, "out of rotation");
    }

    disk.make_room()?;
    // nats-server 2.9 answers nothing any more once a write has failed, room or not; what it acknowledged before is kept.
    // The collectors go on by themselves.
    cluster.nats.restart().await?;
    for writer in &mut cluster.writers {
        writer.restart().await?;
    }
    let ledger = load.finish(patience()).await.context("there is room again")?;
    ledger.check_batches(&cluster.postgres).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}
