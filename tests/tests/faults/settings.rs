//! Settings with which faults show within a second instead of half a minute, and where random ones come from.

use std::time::Duration;

use anyhow::{Context, Result};
use reflow_tracing_tests::{Cluster, cluster::ClusterBuilder};

/// A message that a writer does not acknowledge for so long goes to another one: the least that can be set.
pub const ACK_WAIT: Duration = Duration::from_secs(1);

/// What makes compaction and retention run all the time: once a second, over traces that were silent for a second.
pub const UPKEEP: [(&str, &str); 5] = [
    (COMPACTION, "true"),
    ("REFLOW_TRACING_RETENTION__COMPACTION_INTERVAL_SECS", "1"),
    ("REFLOW_TRACING_RETENTION__COMPACTION_AFTER_SECS", "0"),
    ("REFLOW_TRACING_RETENTION__TRACE_IDLE_SECS", "1"),
    ("REFLOW_TRACING_RETENTION__MAX_AGE_DAYS", "2"),
];

const COMPACTION: &str = "REFLOW_TRACING_RETENTION__COMPACTION";

/// Two collectors and two writers. Rows stay as they were written: compaction is off.
pub fn cluster() -> ClusterBuilder {
    Cluster::build()
        .collectors(2)
        .writers(2)
        .env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", ACK_WAIT.as_secs().to_string())
        .env("REFLOW_TRACING_BUS__NATS__NAK_DELAY_MS", "100")
        .env(COMPACTION, "false")
}

/// Runs a test of random moments, and says which seed brings the same ones again.
pub async fn seeded(test: impl AsyncFnOnce(u64) -> Result<()>) -> Result<()> {
    let seed = setting("REFLOW_FAULTS_SEED")?.unwrap_or_else(rand::random);
    println!("REFLOW_FAULTS_SEED={seed}");
    test(seed).await.with_context(|| format!("with REFLOW_FAULTS_SEED={seed}"))
}

/// So many rounds, unless more are asked for.
pub fn rounds_or(usual: usize) -> Result<usize> {
    Ok(setting("REFLOW_FAULTS_ROUNDS")?.map_or(usual, |rounds| rounds as usize))
}

fn setting(name: &str) -> Result<Option<u64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name} is not a number"))).transpose()
}
