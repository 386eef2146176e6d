//! What is done to a process, and to which.

use std::time::Duration;

use anyhow::Result;
use rand::{RngExt, rngs::StdRng};
use reflow_tracing_tests::Cluster;
use tokio::time::sleep;

use crate::settings::ACK_WAIT;

#[derive(Debug, Clone, Copy)]
pub enum Victim {
    Collector,
    Writer,
    Query,
    Nats,
    Postgres,
}

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// `kill -9`, and a start some time later.
    Kill,
    /// SIGSTOP for longer than the ack wait.
    Pause,
}

/// One of two where there are two of them. Returns when it is back.
pub async fn strike(cluster: &mut Cluster, victim: Victim, fault: Fault, random: &mut StdRng) -> Result<()> {
    let number = random.random_range(0..2);
    let down = Duration::from_millis(random.random_range(0..500));
    // The same words for five types that have them in common.
    macro_rules! strike {
        ($process:expr) => {
            match fault {
                Fault::Kill => {
                    $process.kill9().await?;
                    sleep(down).await;
                    $process.restart().await
                }
                Fault::Pause => {
                    $process.pause().await?;
                    sleep(ACK_WAIT + Duration::from_millis(300) + down).await;
                    $process.resume()
                }
            }
        };
    }
    match victim {
        Victim::Collector => strike!(cluster.collectors[number]),
        Victim::Writer => strike!(cluster.writers[number]),
        Victim::Query => strike!(cluster.queries[0]),
        Victim::Nats => strike!(cluster.nats),
        Victim::Postgres => strike!(cluster.postgres),
    }
}
