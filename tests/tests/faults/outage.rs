//! NATS and Postgres away for half a minute each, the one a while after the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, Load, http, load::Options, patience};
use tokio::time::{Instant, sleep_until};

use crate::settings::cluster;

const AWAY: Duration = Duration::from_secs(30);
/// Postgres goes so long after NATS: for a while both are away, and for a while one alone.
const APART: Duration = Duration::from_secs(5);

#[tokio::test]
async fn half_a_minute_without_nats_and_postgres_loses_nothing() -> Result<()> {
    let mut cluster = cluster().start().await?;
    let load =
        Load::start(cluster.collector_urls(), &Options { pace: Duration::from_millis(50), ..Options::default() });
    load.progress(20).await?;

    let began = Instant::now();
    cluster.nats.kill9().await?;
    sleep_until(began + APART).await;
    cluster.postgres.kill9().await?;
    let acked = load.batches_acked();
    sleep_until(began + AWAY).await;
    ensure!(load.batches_acked() == acked, "acknowledged without a bus");
    // An outage behind them is no reason to take them out of rotation, nor to end.
    ready(&mut cluster).await?;

    cluster.nats.restart().await?;
    load.progress(20).await.context("the bus is back and the store is away")?;
    sleep_until(began + APART + AWAY).await;
    ready(&mut cluster).await?;

    cluster.postgres.restart().await?;
    load.progress(20).await?;
    let ledger = load.finish(patience()).await?;
    ledger.check_batches(&cluster.postgres).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

async fn ready(cluster: &mut Cluster) -> Result<()> {
    for service in cluster.collectors.iter_mut().chain(&mut cluster.writers).chain(&mut cluster.queries) {
        service.process_mut().expect_running()?;
        let answer = http::get(service.admin_port(), "/readyz").await?;
        ensure!(answer.status == 200, "not ready during an outage: {}", answer.body);
    }
    Ok(())
}
