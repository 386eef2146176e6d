//! Backups taken while events come in, and restored into a system that knows nothing: the commands of deploy/README.md.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Ledger, Load, NatsServer, Postgres, Service, cluster::DATABASE, events, eventually, frames::Batch,
    load::Options, patience,
};

use crate::dashboard::deploy;

/// How many acknowledgements show that load flows.
const PROGRESS: usize = 50;

/// Writers look at the bus so often (`BackgroundOptions::lag_interval`); a second more for the look itself.
const LOOK: Duration = Duration::from_secs(6);

/// The restored system has all that was acknowledged by then, nothing that was never sent, and goes on.
async fn check(restored: &Service, ingest: &Service, acked: &Ledger, sent: &Ledger) -> Result<()> {
    ensure!(acked.batches_acked() >= 50, "only {} batches were acknowledged before", acked.batches_acked());
    acked.check_acked_within(restored, sent).await?;
    let batch = Batch::new("after", events::program(10));
    let answer = ingest.connect_v2().await?.ask(&batch.request()).await?;
    ensure!(answer["BatchRecorded"]["accepted"] == 10, "{answer}");
    Cluster::trace_from(restored, batch.trace_id, 10).await?;
    Ok(())
}

#[tokio::test]
async fn an_sqlite_backup_under_load_holds_everything_acked_before_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (database, copy) = (folder.path().join("traces.db"), folder.path().join("backup.db"));
    let live = Service::standalone().sqlite(&database).start().await?;
    let load = Load::start(vec![live.url()], &Options::default());
    load.progress(PROGRESS).await?;

    let acked = load.ledger();
    let backup = || Service::standalone().sqlite(&database).arg("backup").arg(copy.to_string_lossy()).run_to_end();
    let (status, output, errors) = backup().await?;
    ensure!(status.success() && output.contains("bytes copied into"), "{status} {output}\n{errors}");
    load.progress(PROGRESS).await.context("during and after the backup")?;
    let (status, _, errors) = backup().await?;
    ensure!(!status.success() && errors.contains("is there already"), "a backup was written over: {errors}");

    let sent = load.finish(patience()).await?;
    let place = folder.path().join("restored").join("traces.db");
    std::fs::create_dir(place.parent().context("no folder")?)?;
    std::fs::rename(&copy, &place)?;
    let restored = Service::standalone().sqlite(&place).start().await?;
    check(&restored, &restored, &acked, &sent).await
}

#[tokio::test]
async fn a_postgres_dump_under_load_holds_everything_acked_before_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dump = folder.path().join("reflow.dump").to_string_lossy().into_owned();
    let cluster = Cluster::start().await?;
    let load = Load::start(cluster.collector_urls(), &Options::default());
    load.progress(PROGRESS).await?;

    // Acknowledged is what NATS has; a dump has what writers committed. What was acknowledged up to now is committed once
    // the oldest chunk in the bus, when it was last looked at, is younger than now.
    let (acked, began) = (load.ledger(), Instant::now());
    eventually(patience(), || async {
        let metrics = cluster.writers[0].metrics().await?;
        metrics.sum("reflow_bus_lag_messages", &[]).context("nobody knows how far writers are behind")?;
        let oldest = metrics.sum("reflow_bus_lag_oldest_seconds", &[]).unwrap_or(0.0);
        ensure!(began.elapsed() > LOOK + Duration::from_secs_f64(oldest), "the oldest chunk waits since {oldest} s");
        Ok(())
    })
    .await?;
    let url = cluster.postgres.url_of(DATABASE);
    cluster.postgres.run("pg_dump", &["--format=custom", "--file", &dump, &url]).await?;
    load.progress(PROGRESS).await.context("during and after the dump")?;
    let sent = load.finish(patience()).await?;

    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    postgres.create_database(DATABASE).await?;
    postgres
        .run("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &postgres.url_of(DATABASE), &dump])
        .await?;
    let fresh = Cluster::build().start_on(nats, postgres).await?;
    check(&fresh.queries[0], &fresh.collectors[0], &acked, &sent).await?;
    // A chunk that was dumped and comes again counts once: `seen` is in the dump.
    let stored = fresh.sql("SELECT count(*) = count(DISTINCT chunk_id) FROM chunks").await?;
    ensure!(stored == "t", "chunks are there twice");
    Ok(())
}

/// What `docker-compose exec` would run in the container of Postgres; services are stopped and started as the page says.
#[tokio::test]
async fn the_commands_for_docker_compose_put_back_what_they_dumped() -> Result<()> {
    let readme = std::fs::read_to_string(deploy().join("README.md"))?;
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains("exec -T postgres")).context("no such commands")?;
    let (dump, restore) = block.split_once("docker-compose stop writer query\n").context("nobody is stopped")?;
    let restore = restore.strip_suffix("docker-compose start writer query\n").context("nobody is started again")?;
    let inside = |lines: &str| lines.replace("docker-compose exec -T postgres ", "");
    let restore = inside(restore).replace("reflow-2026-01-31.dump", "$(ls reflow-*.dump)");

    let (folder, postgres) = (tempfile::tempdir()?, Postgres::start().await?);
    // As the image makes them.
    postgres.sql("postgres", "CREATE ROLE reflow SUPERUSER LOGIN").await?;
    let url = postgres.create_database("reflow").await?;
    let mut live = Service::standalone().postgres(&url).start().await?;
    let [kept, lost] = [Batch::new("kept", events::program(10)), Batch::new("lost", events::program(10))];
    live.connect_v2().await?.ask(&kept.request()).await?;
    Cluster::trace_from(&live, kept.trace_id, 10).await?;
    postgres.shell(folder.path(), &inside(dump)).await?;
    live.connect_v2().await?.ask(&lost.request()).await?;
    Cluster::trace_from(&live, lost.trace_id, 10).await?;
    live.terminate().await?;
    postgres.shell(folder.path(), &restore).await?;
    live.restart().await?;
    Cluster::trace_from(&live, kept.trace_id, 10).await?;
    let counts = "SELECT count(*) FROM traces";
    let (restored, before) = (postgres.sql("reflow", counts).await?, postgres.sql("reflow_before", counts).await?);
    ensure!((&*restored, &*before) == ("1", "2"), "{restored} restored of {before}");
    Ok(())
}
