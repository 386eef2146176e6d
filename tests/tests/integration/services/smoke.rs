//! `reflow-collector smoke`, which operators and `helm test` run against an installation.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, Port, Service, ServiceBuilder, answers, frames};
use uuid::Uuid;

fn smoke(to: &str, read_from: &str) -> ServiceBuilder {
    Service::collector().arg("smoke").arg("--to").arg(to).arg("--read-from").arg(read_from)
}

#[tokio::test]
async fn a_round_trip_is_told_and_leaves_one_ended_trace() -> Result<()> {
    let cluster = Cluster::start().await?;
    let (collector, query) = (cluster.collectors[0].url(), cluster.queries[0].url());
    for read_from in [&query, &collector] {
        let (status, output, errors) = smoke(&collector, read_from).run_to_end().await?;
        ensure!(status.success(), "{status}: {output}{errors}");
        ensure!(output.starts_with("10 events acked by"), "{output}");
        let id: Uuid = output.trim().rsplit(' ').next().context("no trace is told")?.parse()?;
        let trace = cluster.trace_with(id, 10).await?;
        assert_eq!(trace["status"], "Completed");
        assert_eq!(trace["flow_id"], "reflow_smoke");
    }
    // Each batch was sent twice.
    assert_eq!(cluster.sql("SELECT count(*) FROM seen").await?, "4", "two batches and two ends");
    Ok(())
}

#[tokio::test]
async fn an_installation_without_a_writer_fails_and_says_what_is_missing() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.writers[0].terminate().await?;
    let (collector, query) = (cluster.collectors[0].url(), cluster.queries[0].url());
    let (status, output, errors) = smoke(&collector, &query).arg("--timeout").arg("2").run_to_end().await?;
    assert_eq!((status.code(), output.as_str()), (Some(1), ""));
    ensure!(errors.contains("10 of 10 events") && errors.contains("is a writer running?"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn an_installation_without_a_query_service_fails_and_says_what_is_missing() -> Result<()> {
    let cluster = Cluster::build().queries(0).start().await?;
    let collector = cluster.collectors[0].url();
    let (status, _, errors) = smoke(&collector, &collector).arg("--timeout").arg("2").run_to_end().await?;
    assert_eq!(status.code(), Some(1));
    ensure!(errors.contains("within the deadline") && errors.contains("reflow-query"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn a_service_that_takes_no_events_fails_the_round_trip_with_its_reason() -> Result<()> {
    let cluster = Cluster::start().await?;
    let query = cluster.queries[0].url();
    let (status, _, errors) = smoke(&query, &query).run_to_end().await?;
    assert_eq!(status.code(), Some(1));
    ensure!(errors.contains("the batch was refused") && errors.contains("collector"), "{errors}");
    // It was no more than a refusal: the session goes on for others.
    let answer = cluster.queries[0].connect().await?.ask(&frames::get_trace(Uuid::new_v4())).await?;
    ensure!(answers::trace(&answer)?.is_none(), "{answer}");
    Ok(())
}

#[tokio::test]
async fn nobody_at_the_address_and_an_address_with_tls_are_told_apart() -> Result<()> {
    let nobody = format!("ws://127.0.0.1:{}/", Port::reserve()?.number());
    let (status, _, errors) = smoke(&nobody, &nobody).arg("--timeout").arg("1").run_to_end().await?;
    assert_eq!(status.code(), Some(1));
    ensure!(errors.contains("cannot connect to"), "{errors}");
    let (status, _, errors) = smoke("wss://traces.example/", &nobody).run_to_end().await?;
    assert_eq!(status.code(), Some(2));
    ensure!(errors.contains("must be ws://"), "{errors}");
    Ok(())
}
