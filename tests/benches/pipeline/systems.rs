//! The two shapes of the product, running: one process with SQLite, and three services with NATS and Postgres.

use std::time::Duration;

use anyhow::{Result, ensure};
use reflow_tracing_bus::{Bus, NatsBus, NatsOptions};
use reflow_tracing_store::{PostgresStore, SqliteStore, StoreReader, StoreStats};
use reflow_tracing_tests::{NatsServer, Process, Service, eventually};

use crate::backend::{PostgresBackend, SqliteBackend};

/// A running system.
pub enum System {
    Local(Box<Local>),
    Cluster(Box<Cluster>),
}

/// `reflow-tracing` with SQLite.
pub struct Local {
    standalone: Service,
    sqlite: SqliteBackend,
}

/// Collector, writer, query; NATS and Postgres.
pub struct Cluster {
    collector: Service,
    writer: Service,
    query: Service,
    nats: NatsServer,
    postgres: PostgresBackend,
}

impl System {
    /// One process.
    pub async fn local() -> Result<Self> {
        let sqlite = SqliteBackend::new()?;
        let standalone = Service::standalone().sqlite(&sqlite.path()).start().await?;
        Ok(Self::Local(Box::new(Local { standalone, sqlite })))
    }

    /// All of them.
    pub async fn cluster() -> Result<Self> {
        let (nats, postgres) = (NatsServer::start().await?, PostgresBackend::start().await?);
        let writer = Service::writer().nats(&nats).postgres(postgres.url()).start().await?;
        let query = Service::query().nats(&nats).postgres(postgres.url()).start().await?;
        let collector = Service::collector().nats(&nats).start().await?;
        Ok(Self::Cluster(Box::new(Cluster { collector, writer, query, nats, postgres })))
    }

    /// Where events go.
    pub fn ingest_url(&self) -> String {
        match self {
            Self::Local(local) => local.standalone.url(),
            Self::Cluster(cluster) => cluster.collector.url(),
        }
    }

    /// Where questions go.
    pub fn query_url(&self) -> String {
        match self {
            Self::Local(local) => local.standalone.url(),
            Self::Cluster(cluster) => cluster.query.url(),
        }
    }

    /// Everything that an event passes, by name.
    pub fn processes(&self) -> Vec<(&'static str, &Process)> {
        match self {
            Self::Local(local) => vec![("standalone", local.standalone.process())],
            Self::Cluster(cluster) => vec![
                ("collector", cluster.collector.process()),
                ("nats", cluster.nats.process()),
                ("writer", cluster.writer.process()),
                ("postgres", cluster.postgres.process()),
            ],
        }
    }

    /// All of our and others' processes that run for it.
    pub fn everything(&self) -> Vec<(&'static str, &Process)> {
        let mut processes = self.processes();
        if let Self::Cluster(cluster) = self {
            processes.push(("query", cluster.query.process()));
        }
        processes
    }

    /// Waits until what was acked is stored.
    pub async fn settled(&self) -> Result<()> {
        // One process acks what it has stored.
        let Self::Cluster(cluster) = self else { return Ok(()) };
        let bus = NatsBus::connect(NatsOptions::new(cluster.nats.url())).await?;
        eventually(Duration::from_secs(120), || async {
            let lag = bus.lag().await?;
            ensure!(lag.messages == 0, "{} chunks are not stored yet", lag.messages);
            Ok(())
        })
        .await?;
        bus.close().await;
        Ok(())
    }

    /// What the store holds.
    pub async fn stats(&self) -> Result<StoreStats> {
        Ok(match self {
            Self::Local(local) => SqliteStore::open_reader(&local.sqlite.options()).await?.stats().await?,
            Self::Cluster(cluster) => PostgresStore::connect_reader(&cluster.postgres.options()).await?.stats().await?,
        })
    }
}
