//! The services as they run in production, small: collectors, writers and query services over one nats-server and one
//! Postgres, each as many as a test needs.

use anyhow::Result;
use futures_util::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    answers,
    eventually::{eventually, patience},
    frames,
    nats::NatsServer,
    postgres::Postgres,
    service::{Service, ServiceBuilder},
};

/// The name of the database.
pub const DATABASE: &str = "traces";

/// Everything that runs. Services stop before what they depend on.
#[derive(Debug)]
pub struct Cluster {
    /// `reflow-collector`s.
    pub collectors: Vec<Service>,
    /// `reflow-writer`s.
    pub writers: Vec<Service>,
    /// `reflow-query`s.
    pub queries: Vec<Service>,
    /// The bus.
    pub nats: NatsServer,
    /// The store.
    pub postgres: Postgres,
}

/// What a cluster is to be started with.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    collectors: usize,
    writers: usize,
    queries: usize,
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// One of each, unless told otherwise.
    #[must_use]
    pub fn build() -> ClusterBuilder {
        ClusterBuilder { collectors: 1, writers: 1, queries: 1, environment: Vec::new() }
    }

    /// One of each.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start() -> Result<Self> {
        Self::build().start().await
    }

    /// The addresses of all collectors.
    #[must_use]
    pub fn collector_urls(&self) -> Vec<String> {
        self.collectors.iter().map(Service::url).collect()
    }

    /// Runs SQL on the store.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn sql(&self, statements: &str) -> Result<String> {
        self.postgres.sql(DATABASE, statements).await
    }

    /// A trace as a service tells it, as soon as it has so many events; it must never have more.
    ///
    /// # Errors
    /// When it has not for a long time; the message says how many there were.
    pub async fn trace_from(service: &Service, trace_id: Uuid, events: usize) -> Result<Value> {
        eventually(patience(), || async {
            let answer = service.connect().await?.ask(&frames::get_trace(trace_id)).await?;
            let Some(trace) = answers::trace(&answer)? else { anyhow::bail!("no such trace") };
            let count = answers::events(trace)?.len();
            anyhow::ensure!(count == events, "{count} of {events} events are there");
            Ok(trace.clone())
        })
        .await
    }

    /// A trace through the first query service.
    ///
    /// # Errors
    /// As [`trace_from`](Self::trace_from).
    pub async fn trace_with(&self, trace_id: Uuid, events: usize) -> Result<Value> {
        let Some(query) = self.queries.first() else { anyhow::bail!("there is no query service") };
        Self::trace_from(query, trace_id, events).await
    }

    /// One metric, summed over the writers and over the labels that are not given; 0 while none has it.
    ///
    /// # Errors
    /// When a writer does not answer.
    pub async fn written(&self, metric: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let metrics = try_join_all(self.writers.iter().map(Service::metrics)).await?;
        Ok(metrics.iter().filter_map(|metrics| metrics.sum(metric, labels)).sum())
    }
}

impl ClusterBuilder {
    /// How many collectors.
    #[must_use]
    pub fn collectors(mut self, count: usize) -> Self {
        self.collectors = count;
        self
    }

    /// How many writers.
    #[must_use]
    pub fn writers(mut self, count: usize) -> Self {
        self.writers = count;
        self
    }

    /// How many query services.
    #[must_use]
    pub fn queries(mut self, count: usize) -> Self {
        self.queries = count;
        self
    }

    /// Sets a variable for every service.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// Starts servers of its own and everything else.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(self) -> Result<Cluster> {
        let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
        postgres.create_database(DATABASE).await?;
        self.start_on(nats, postgres).await
    }

    /// Starts everything on servers that are there already; the database is, too.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_on(self, nats: NatsServer, postgres: Postgres) -> Result<Cluster> {
        let database = postgres.url_of(DATABASE);
        let with_store = |service: ServiceBuilder| self.configured(service.postgres(&database), &nats).start();
        // The first writer makes the tables; the others would only wait for it.
        let mut writers = try_join_all((0..self.writers.min(1)).map(|_| with_store(Service::writer()))).await?;
        let (more, collectors, queries) = tokio::try_join!(
            try_join_all((1..self.writers).map(|_| with_store(Service::writer()))),
            try_join_all((0..self.collectors).map(|_| self.configured(Service::collector(), &nats).start())),
            try_join_all((0..self.queries).map(|_| with_store(Service::query()))),
        )?;
        writers.extend(more);
        Ok(Cluster { collectors, writers, queries, nats, postgres })
    }

    /// A service of this cluster that is not started yet, for one more of them or one with other settings.
    #[must_use]
    pub fn configured(&self, service: ServiceBuilder, nats: &NatsServer) -> ServiceBuilder {
        let service = service.nats(nats);
        self.environment.iter().fold(service, |service, (key, value)| service.env(key, value))
    }
}
