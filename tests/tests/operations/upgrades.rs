//! Two schema versions and our executables, under load: one schema that a newer build has expanded, and one that it has contracted.
//! The newer build is SQL, see `shared/store/tests/next/README.md`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Load, Service, ServiceBuilder, cluster::DATABASE, events, eventually, frames::Batch, http, load::Options,
    patience,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

const EXPAND_POSTGRES: &str = include_str!("../../../shared/store/tests/next/expand.postgres.sql");
const EXPAND_SQLITE: &str = include_str!("../../../shared/store/tests/next/expand.sqlite.sql");
const CONTRACT: &str = include_str!("../../../shared/store/tests/next/contract.sql");
/// Acknowledgements that show that load flows.
const PROGRESS: usize = 20;

/// Ends and starts again as a rollback or a crash in the middle of an upgrade would have it.
async fn started_anew(service: &mut Service, load: &Load) -> Result<()> {
    let status = service.terminate().await?;
    ensure!(status.success(), "it ended with {status}\n{}", service.process().tail());
    service.restart().await?;
    load.progress(PROGRESS).await
}

/// What the program says of a schema that it must not touch, on its way to exit code 1.
async fn refusal(service: ServiceBuilder) -> Result<String> {
    let mut service = service.spawn()?;
    let status = service.process_mut().exit(patience()).await?;
    let log = service.process().log()?;
    ensure!(status.code() == Some(1), "it ended with {status}\n{log}");
    Ok(log)
}

fn names_both(text: &str, schema: i64) -> Result<()> {
    let both = [format!("schema has version {schema}"), format!("build has version {}", schema - 2)];
    ensure!(both.iter().all(|version| text.contains(version)), "not both of {both:?} in:\n{text}");
    Ok(())
}

#[tokio::test]
async fn the_services_go_on_with_the_next_schema_and_refuse_the_one_after_it() -> Result<()> {
    let builder = Cluster::build().writers(2).env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", "2");
    let mut cluster = builder.clone().start().await?;
    let load = Load::start(cluster.collector_urls(), &Options::default());
    load.progress(PROGRESS).await?;

    cluster.sql(EXPAND_POSTGRES).await.context("the next version's migration")?;
    load.progress(PROGRESS).await.context("running over the migration")?;
    for writer in &mut cluster.writers {
        started_anew(writer, &load).await.context("a writer")?;
    }
    started_anew(&mut cluster.queries[0], &load).await.context("the query service")?;
    let database = cluster.postgres.url_of(DATABASE);
    let migrate = || Service::writer().postgres(&database).arg("migrate");
    let (status, output, errors) = migrate().run_to_end().await?;
    ensure!(status.success() && output.contains("works with it"), "{status}: {output}\n{errors}");

    let ledger = load.finish(patience()).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await?;
    let next = "SELECT (SELECT sum(events) FROM next_totals), (SELECT count(*) FROM chunks WHERE next_flags <> 7)";
    assert_eq!(cluster.sql(next).await?, format!("{}|0", ledger.events_sent()), "what the next version added is true");

    // The release after: what runs does not store wrongly, what starts refuses, and acknowledged events wait.
    cluster.sql(CONTRACT).await?;
    let schema: i64 = cluster.sql("SELECT max(version) FROM schema_migrations").await?.parse()?;
    let batch = Batch::new("waits", events::program(10));
    let answer = cluster.collectors[0].connect_v2().await?.ask(&batch.request()).await?;
    ensure!(answer["BatchRecorded"]["accepted"] == 10, "{answer}");
    for writer in &mut cluster.writers {
        writer.terminate().await?;
    }
    names_both(&refusal(builder.configured(Service::writer().postgres(&database), &cluster.nats)).await?, schema)?;
    names_both(&refusal(migrate()).await?, schema)?;
    let query = builder.configured(Service::query().postgres(&database), &cluster.nats).spawn()?;
    eventually(patience(), || async {
        let ready = http::get(query.admin_port(), "/readyz").await?;
        ensure!(ready.status == 503, "it is ready: {}", ready.body);
        names_both(&ready.body, schema)
    })
    .await?;
    let found = "SELECT count(*), (SELECT count(*) FROM traces WHERE flow_id = 'waits') FROM schema_migrations";
    assert_eq!(cluster.sql(found).await?, format!("{schema}|0"), "nothing was written");

    // Whoever finds a build that fits the schema has lost nothing: here the schema goes back to the build.
    let back = "ALTER TABLE seen RENAME COLUMN first_day TO day; \
                UPDATE schema_compatibility SET readable_from = readable_from - 2, writable_from = writable_from - 2";
    cluster.sql(back).await?;
    cluster.writers[0].restart().await?;
    cluster.trace_with(batch.trace_id, 10).await?;
    Ok(())
}

#[tokio::test]
async fn the_one_process_program_goes_on_with_the_next_schema_and_refuses_the_one_after_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("traces.db");
    let mut service = Service::standalone().sqlite(&file).start().await?;
    let load = Load::start(vec![service.url()], &Options::default());
    load.progress(PROGRESS).await?;

    run(&file, EXPAND_SQLITE).await.context("the next version's migration")?;
    load.progress(PROGRESS).await.context("running over the migration")?;
    started_anew(&mut service, &load).await?;
    let ledger = load.finish(patience()).await?;
    ledger.check_traces(&service).await?;
    let totals: i64 = number(&file, "SELECT sum(events) FROM next_totals").await?;
    assert_eq!(totals, i64::try_from(ledger.events_sent())?, "what the next version added is true");

    service.terminate().await?;
    run(&file, CONTRACT).await?;
    let schema = number(&file, "SELECT max(version) FROM schema_migrations").await?;
    for program in [Service::standalone(), Service::writer().arg("migrate")] {
        names_both(&refusal(program.sqlite(&file)).await?, schema)?;
    }
    assert_eq!(number(&file, "SELECT count(*) FROM schema_migrations").await?, schema, "nothing was written");
    Ok(())
}

async fn beside(file: &Path) -> Result<SqliteConnection> {
    Ok(SqliteConnectOptions::new().filename(file).connect().await?)
}

/// Runs statements in one transaction, as a migration does.
async fn run(file: &Path, sql: &'static str) -> Result<()> {
    let mut connection = beside(file).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(sql).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

async fn number(file: &Path, sql: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(&mut beside(file).await?).await?)
}
