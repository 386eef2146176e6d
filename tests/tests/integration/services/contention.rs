//! Two writers, one hot flow: both write the same summaries and rollups all the time.

use std::time::Duration;

use anyhow::{Result, ensure};
use reflow_tracing_tests::{Cluster, Load, eventually, load::Options, patience};

#[tokio::test]
async fn two_writers_share_a_hot_flow_without_a_deadlock() -> Result<()> {
    // Small groups, so that both writers always have one under way.
    let cluster = Cluster::build().writers(2).env("REFLOW_TRACING_WRITER__BATCH_CHUNKS", "4").start().await?;
    let options = Options {
        programs: 8,
        batch_events: 10,
        trace_batches: 50,
        pace: Duration::from_millis(2),
        flow_id: "hot".to_owned(),
        ..Options::default()
    };
    let load = Load::start(cluster.collector_urls(), &options);
    eventually(patience(), || async {
        for writer in &cluster.writers {
            let commits = writer.metrics().await?.sum("reflow_writer_commits_total", &[("result", "ok")]);
            ensure!(commits.unwrap_or(0.0) >= 50.0, "a writer made {commits:?} commits");
        }
        Ok(())
    })
    .await?;
    let ledger = load.finish(patience()).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await?;

    let deadlocks = cluster.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await?;
    ensure!(deadlocks == "0", "Postgres broke {deadlocks} deadlocks");
    for result in ["unavailable", "full", "rejected", "schema", "locked", "corrupt", "timeout"] {
        let failed = cluster.written("reflow_writer_commits_total", &[("result", result)]).await?;
        ensure!(failed == 0.0, "{failed} commits failed: {result}");
    }
    Ok(())
}
