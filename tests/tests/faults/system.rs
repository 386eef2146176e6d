//! Either store with all that writes into it, while compaction and retention are at work all the time.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use reflow_tracing_tests::{Cluster, Service, Tables};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    settings::{UPKEEP, cluster},
    strike::{Fault, Victim, strike},
};

/// Who has to do with compaction and retention, the likelier the more; and whose end makes programs and bus send again.
const FAULTS: [(Victim, Fault); 8] = [
    (Victim::Writer, Fault::Kill),
    (Victim::Writer, Fault::Kill),
    (Victim::Writer, Fault::Kill),
    (Victim::Writer, Fault::Pause),
    (Victim::Postgres, Fault::Kill),
    (Victim::Postgres, Fault::Pause),
    (Victim::Collector, Fault::Kill),
    (Victim::Nats, Fault::Kill),
];

pub enum System {
    /// `reflow-tracing` with a file.
    Sqlite { service: Box<Service>, file: PathBuf, _folder: TempDir },
    /// Two collectors, two writers.
    Postgres(Box<Cluster>),
}

impl System {
    pub async fn sqlite() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("traces.db");
        let standalone = Service::standalone().sqlite(&file);
        let standalone = UPKEEP.iter().fold(standalone, |standalone, (key, value)| standalone.env(key, *value));
        Ok(Self::Sqlite { service: Box::new(standalone.start().await?), file, _folder: folder })
    }

    pub async fn postgres() -> Result<Self> {
        let cluster = UPKEEP.iter().fold(cluster(), |cluster, (key, value)| cluster.env(key, *value));
        Ok(Self::Postgres(Box::new(cluster.start().await?)))
    }

    /// Where programs send to.
    pub fn urls(&self) -> Vec<String> {
        match self {
            Self::Sqlite { service, .. } => vec![service.url()],
            Self::Postgres(cluster) => cluster.collector_urls(),
        }
    }

    /// Who answers about history.
    pub fn reader(&self) -> &Service {
        match self {
            Self::Sqlite { service, .. } => service,
            Self::Postgres(cluster) => &cluster.queries[0],
        }
    }

    pub fn tables(&self) -> Tables<'_> {
        match self {
            Self::Sqlite { file, .. } => Tables::from(file.as_path()),
            Self::Postgres(cluster) => Tables::from(&cluster.postgres),
        }
    }

    /// Something dies or stands still for a while; what it was.
    pub async fn strike(&mut self, random: &mut StdRng) -> Result<String> {
        match self {
            Self::Sqlite { service, .. } => {
                service.kill9().await?;
                sleep(Duration::from_millis(random.random_range(0..200))).await;
                service.restart().await?;
                Ok("Kill".to_owned())
            }
            Self::Postgres(cluster) => {
                let (victim, fault) = *FAULTS.choose(random).unwrap_or(&FAULTS[0]);
                strike(cluster, victim, fault, random).await?;
                Ok(format!("{fault:?} {victim:?}"))
            }
        }
    }

    /// `kill -9` of everything that writes into the store.
    pub async fn kill_writers(&mut self) -> Result<()> {
        match self {
            Self::Sqlite { service, .. } => service.kill9().await,
            Self::Postgres(cluster) => {
                for writer in &mut cluster.writers {
                    writer.kill9().await?;
                }
                Ok(())
            }
        }
    }

    pub async fn start_writers(&mut self) -> Result<()> {
        match self {
            Self::Sqlite { service, .. } => service.restart().await,
            Self::Postgres(cluster) => {
                for writer in &mut cluster.writers {
                    writer.restart().await?;
                }
                Ok(())
            }
        }
    }
}
