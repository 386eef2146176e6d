//! `--health`, as the images' health check runs it: the same executable, the same environment, another process.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{Cluster, Port, Service, cluster::DATABASE, eventually, patience, service::ServiceBuilder};

/// Exit code, standard output, standard error.
async fn health(service: ServiceBuilder, admin: u16) -> Result<(Option<i32>, String, String)> {
    let asked = service.env("REFLOW_TRACING_METRICS_PORT", admin.to_string()).arg("--health").run_to_end().await?;
    Ok((asked.0.code(), asked.1, asked.2))
}

async fn expect_ready(service: ServiceBuilder, admin: u16) -> Result<()> {
    let (code, output, reason) = health(service, admin).await?;
    ensure!(code == Some(0) && output.contains("\"ready\":true"), "{code:?}: {output} {reason}");
    Ok(())
}

#[tokio::test]
async fn every_program_finds_itself_ready() -> Result<()> {
    let standalone = Service::standalone().memory().env("REFLOW_TRACING_HOST", "0.0.0.0");
    let running = standalone.clone().start().await?;
    expect_ready(standalone, running.admin_port()).await?;

    let cluster = Cluster::start().await?;
    let database = cluster.postgres.url_of(DATABASE);
    let nats = &cluster.nats;
    expect_ready(Service::collector().nats(nats), cluster.collectors[0].admin_port()).await?;
    expect_ready(Service::writer().nats(nats).postgres(&database), cluster.writers[0].admin_port()).await?;
    expect_ready(Service::query().nats(nats).postgres(&database), cluster.queries[0].admin_port()).await
}

#[tokio::test]
async fn what_is_not_ready_says_what_it_waits_for() -> Result<()> {
    let nobody = Port::reserve()?;
    let collector =
        Service::collector().env("REFLOW_TRACING_NATS_URL", format!("nats://127.0.0.1:{}", nobody.number()));
    let running = collector.clone().spawn()?;
    eventually(patience(), || async {
        let (code, output, reason) = health(collector.clone(), running.admin_port()).await?;
        ensure!(code == Some(1) && output.is_empty(), "{code:?}: {output}");
        ensure!(reason.contains("not ready (503)") && reason.contains("nats, to declare the streams"), "{reason}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_program_that_does_not_run_is_not_healthy() -> Result<()> {
    let nobody = Port::reserve()?;
    let (code, output, reason) = health(Service::standalone().memory(), nobody.number()).await?;
    ensure!(code == Some(1) && output.is_empty(), "{code:?}: {output}");
    ensure!(reason.contains(&format!("cannot ask 127.0.0.1:{}", nobody.number())), "{reason}");
    Ok(())
}

#[tokio::test]
async fn without_an_admin_port_there_is_nobody_to_ask() -> Result<()> {
    let without = Service::standalone().memory().env("REFLOW_TRACING_METRICS__ENABLED", "false");
    let (code, _, reason) = health(without, 9090).await?;
    ensure!(code == Some(1) && reason.contains("`metrics.enabled` is false"), "{code:?}: {reason}");
    let (code, _, reason) = health(Service::standalone().memory(), 0).await?;
    ensure!(code == Some(1) && reason.contains("`metrics.port` is 0"), "{code:?}: {reason}");
    Ok(())
}
