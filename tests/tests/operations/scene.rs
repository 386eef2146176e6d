//! All four programs after something of everything happened to them, so that every metric that can have a value has one.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Redis, Service, answers, events, eventually,
    frames::{self, Batch, Query},
    http, patience,
};
use serde_json::json;
use uuid::Uuid;

use crate::otlp::Receiver;

/// A cluster of one of each with Redis, and the one-process program with SQLite.
pub struct Scene {
    pub cluster: Cluster,
    pub standalone: Service,
    /// What the writer exported while the store was away: some gauges have a value only then.
    pub exported_without_store: BTreeSet<String>,
    _redis: Redis,
    _telemetry: Receiver,
}

impl Scene {
    pub async fn start() -> Result<Self> {
        let redis = Redis::start().await?;
        let cluster = Cluster::build()
            .env("REFLOW_TRACING_REDIS_URL", redis.url())
            .env("REFLOW_TRACING_BUS__NATS__NAK_DELAY_MS", "100")
            // So soon a store that is away is seen to be.
            .env("REFLOW_TRACING_STORAGE__POSTGRES__ACQUIRE_TIMEOUT_SECS", "1")
            .start()
            .await?;
        let telemetry = Receiver::start().await?;
        // In its own folder, which is gone with it.
        let standalone = Service::standalone()
            .env("REFLOW_TRACING_STORAGE_BACKEND", "sqlite")
            .env("REFLOW_TRACING_TELEMETRY__OTLP_ENDPOINT", telemetry.endpoint())
            .start()
            .await?;
        let mut scene =
            Self { cluster, standalone, exported_without_store: BTreeSet::new(), _redis: redis, _telemetry: telemetry };
        scene.happen().await?;
        Ok(scene)
    }

    /// By the names of the jobs in prometheus.yml, and one for the one-process program.
    pub fn services(&self) -> [(&'static str, &Service); 4] {
        [
            ("collector", &self.cluster.collectors[0]),
            ("writer", &self.cluster.writers[0]),
            ("query", &self.cluster.queries[0]),
            ("standalone", &self.standalone),
        ]
    }

    /// Puts a message on the bus that no writer can read.
    pub async fn dead_letter(&self) -> Result<()> {
        let context = async_nats::jetstream::new(async_nats::connect(self.cluster.nats.url()).await?);
        let taken = context.publish("reflow.chunks.default._.0", "no chunk".into()).await?;
        taken.await.context("the stream does not take it")?;
        Ok(())
    }

    /// Sends, asks, watches and offends.
    pub async fn traffic(&self) -> Result<()> {
        for service in [&self.cluster.collectors[0], &self.standalone] {
            let mut viewer = service.connect().await?;
            viewer.ask(&frames::subscribe(&json!({}))).await?;
            // Good events beside a bad one, from a client that lost some before.
            let mut events = events::program(20);
            events.push(json!({"bad": true}));
            let batch = Batch { dropped: 3, ..Batch::new("scene", events) };
            let answer = service.connect_v2().await?.ask(&batch.request()).await?;
            ensure!(answer["BatchRecorded"]["accepted"] == 20, "{answer}");
            let mut older = service.connect().await?;
            older.ask(&frames::start_trace("scene_1700000000")).await?;
            older.ask(&frames::record_event(Uuid::new_v4(), &events::actor_created("a"))).await?;
            older.ask(&json!({"NoSuchRequest": {}})).await?;
            viewer.recv_json().await.context("the viewer sees nothing")?;
            eventually(patience(), || async {
                let answer = service.connect().await?.ask(&frames::get_trace(batch.trace_id)).await?;
                let trace = answers::trace(&answer)?.context("no such trace")?;
                ensure!(answers::events(trace)?.len() == 20, "not all events");
                Ok(())
            })
            .await?;
            service.connect().await?.ask(&frames::query_traces(&Query::all())).await?;
        }
        self.cluster.queries[0].connect().await?.ask(&frames::query_traces(&Query::all())).await?;
        Ok(())
    }

    async fn happen(&mut self) -> Result<()> {
        self.traffic().await?;
        self.dead_letter().await?;
        // Chunks come while the store is away, are given back, and are stored when it is there again.
        self.cluster.postgres.kill9().await?;
        let batch = Batch::new("scene", events::program(5));
        self.cluster.collectors[0].connect_v2().await?.ask(&batch.request()).await?;
        eventually(patience(), || async {
            let naks = self.cluster.written("reflow_writer_naks_total", &[("reason", "store")]).await?;
            ensure!(naks > 0.0, "nothing was given back");
            let metrics = self.cluster.writers[0].metrics().await?;
            metrics.sum("reflow_bus_lag_oldest_seconds", &[]).context("nothing waits")?;
            Ok(())
        })
        .await?;
        self.exported_without_store = exported(&self.cluster.writers[0]).await?;
        self.cluster.postgres.restart().await?;
        self.cluster.trace_with(batch.trace_id, 5).await?;
        Ok(())
    }
}

/// The names of all metrics that a service exports now.
pub async fn exported(service: &Service) -> Result<BTreeSet<String>> {
    let answer = http::get(service.admin_port(), "/metrics").await?;
    let names = answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    Ok(names.map(|(name, _)| name.to_owned()).collect())
}
