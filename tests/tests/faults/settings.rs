//! Settings with which faults show within a second instead of half a minute.

use std::time::Duration;

use reflow_tracing_tests::{Cluster, cluster::ClusterBuilder};

/// A message that a writer does not acknowledge for so long goes to another one: the least that can be set.
pub const ACK_WAIT: Duration = Duration::from_secs(1);

/// Two collectors and two writers. Rows stay as they were written: compaction is off.
pub fn cluster() -> ClusterBuilder {
    Cluster::build()
        .collectors(2)
        .writers(2)
        .env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", ACK_WAIT.as_secs().to_string())
        .env("REFLOW_TRACING_BUS__NATS__NAK_DELAY_MS", "100")
        .env("REFLOW_TRACING_RETENTION__COMPACTION", "false")
}
