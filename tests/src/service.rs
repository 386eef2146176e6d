//! Our real executables, configured as a user would: by environment variables.
//!
//! A [`Service`] keeps its ports and its configuration, so that it can be killed and started again as an orchestrator
//! would do it.

use std::{collections::BTreeMap, path::Path, process::ExitStatus, time::Duration};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    client::Client,
    eventually::{eventually, patience},
    executable::executable,
    http,
    metrics::Metrics,
    nats::NatsServer,
    ports::Port,
    process::{Process, Spec},
    redis::Redis,
};

/// What a service is to be started with.
#[derive(Debug, Clone)]
pub struct ServiceBuilder {
    executable: &'static str,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
}

/// One of our executables, running.
#[derive(Debug)]
pub struct Service {
    process: Process,
    spec: Spec,
    port: Port,
    admin: Port,
    folder: TempDir,
}

impl Service {
    /// `reflow-tracing`, which stores into an SQLite file below its folder unless told otherwise; see [`ServiceBuilder::sqlite`].
    #[must_use]
    pub fn standalone() -> ServiceBuilder {
        ServiceBuilder::new("reflow-tracing")
    }

    /// `reflow-collector`.
    #[must_use]
    pub fn collector() -> ServiceBuilder {
        ServiceBuilder::new("reflow-collector")
    }

    /// `reflow-writer`.
    #[must_use]
    pub fn writer() -> ServiceBuilder {
        ServiceBuilder::new("reflow-writer")
    }

    /// `reflow-query`.
    #[must_use]
    pub fn query() -> ServiceBuilder {
        ServiceBuilder::new("reflow-query")
    }

    /// The address of the protocol.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port.number())
    }

    /// The port of the protocol and of the page.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port of `/readyz`, `/healthz` and `/metrics`.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin.number()
    }

    /// The folder it runs in, empty at the start except for its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process, for its memory, its CPU time and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, for waiting on its end.
    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A v1 connection to it, as published clients make it.
    ///
    /// # Errors
    /// When it does not accept.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(&self.url()).await
    }

    /// A v2 connection to it.
    ///
    /// # Errors
    /// When it does not accept, or does not know v2.
    pub async fn connect_v2(&self) -> Result<Client> {
        Client::connect_v2(&self.url()).await
    }

    /// Everything it measures, now.
    ///
    /// # Errors
    /// When `/metrics` does not answer as it should.
    pub async fn metrics(&self) -> Result<Metrics> {
        let answer = http::get(self.admin_port(), "/metrics").await?;
        if answer.status != 200 {
            bail!("/metrics answers {}: {}", answer.status, answer.body);
        }
        Metrics::parse(&answer.body)
    }

    /// One metric, summed over its labels; `None` when it has no series.
    ///
    /// # Errors
    /// When `/metrics` does not answer as it should.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>> {
        Ok(self.metrics().await?.sum(name, &[]))
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When the service ends, or is not ready after `timeout`; with the tail of its log.
    pub async fn ready(&mut self, timeout: Duration) -> Result<()> {
        let admin = self.admin_port();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            self.process.expect_running()?;
            let step = Duration::from_millis(100).min(timeout);
            let outcome = eventually(step, || async {
                let answer = http::get(admin, "/readyz").await?;
                if answer.status != 200 {
                    bail!("/readyz answers {}: {}", answer.status, answer.body);
                }
                Ok(())
            })
            .await;
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("the service is not ready\n{}", self.process.tail()));
                }
                Err(_) => {}
            }
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate(patience()).await
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn pause(&self) -> Result<()> {
        self.process.pause().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Starts it again as it was, on the same ports and in the same folder; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9().await?;
        self.process = Process::spawn(&self.spec)?;
        self.ready(patience()).await
    }
}

impl ServiceBuilder {
    fn new(executable: &'static str) -> Self {
        let environment = BTreeMap::from([
            ("REFLOW_TRACING_HOST".to_owned(), "127.0.0.1".to_owned()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
            ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
        ]);
        Self { executable, environment, arguments: Vec::new() }
    }

    /// Sets an environment variable, by its whole name.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a command-line argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Stores into an SQLite file.
    #[must_use]
    pub fn sqlite(self, path: &Path) -> Self {
        self.env("REFLOW_TRACING_STORAGE_BACKEND", "sqlite").env("REFLOW_TRACING_SQLITE_PATH", path.to_string_lossy())
    }

    /// Stores into memory.
    #[must_use]
    pub fn memory(self) -> Self {
        self.env("REFLOW_TRACING_STORAGE_BACKEND", "memory")
    }

    /// Stores into a Postgres database; see [`Postgres::create_database`](crate::Postgres::create_database).
    #[must_use]
    pub fn postgres(self, url: &str) -> Self {
        self.env("REFLOW_TRACING_POSTGRES_URL", url)
    }

    /// Uses this bus.
    #[must_use]
    pub fn nats(self, server: &NatsServer) -> Self {
        self.env("REFLOW_TRACING_NATS_URL", server.url())
    }

    /// Shares what collectors share through this Redis.
    #[must_use]
    pub fn redis(self, server: &Redis) -> Self {
        self.env("REFLOW_TRACING_REDIS_URL", server.url())
    }

    /// Starts the service and waits until it is ready.
    ///
    /// # Errors
    /// When the executable is missing, or ends, or is not ready in time; with the tail of its log.
    pub async fn start(self) -> Result<Service> {
        let mut service = self.spawn()?;
        service.ready(patience()).await?;
        Ok(service)
    }

    /// Starts the service without waiting for anything, for tests of what keeps it from being ready.
    ///
    /// # Errors
    /// When the executable is missing.
    pub fn spawn(self) -> Result<Service> {
        let folder =
            tempfile::Builder::new().prefix(&format!("{}-", self.executable)).tempdir().context("no temp folder")?;
        let (port, admin) = (Port::reserve()?, Port::reserve()?);
        let mut spec = Spec::new(executable(self.executable)?, folder.path())
            .env("REFLOW_TRACING_PORT", port.number().to_string())
            .env("REFLOW_TRACING_METRICS_PORT", admin.number().to_string())
            .args(&self.arguments);
        for (key, value) in &self.environment {
            spec = spec.env(key, value);
        }
        Ok(Service { process: Process::spawn(&spec)?, spec, port, admin, folder })
    }

    /// Runs the executable to its end, as for `--check-config`, and gives its status, its standard output and its
    /// standard error. Ports are not set.
    ///
    /// # Errors
    /// When the executable is missing or does not end.
    pub async fn run_to_end(self) -> Result<(ExitStatus, String, String)> {
        let folder = tempfile::tempdir().context("no temp folder")?;
        let output = folder.path().join("output");
        let mut spec = Spec::new(executable(self.executable)?, folder.path()).output(&output).args(&self.arguments);
        for (key, value) in &self.environment {
            spec = spec.env(key, value);
        }
        let mut process = Process::spawn(&spec)?;
        let status = process.exit(patience()).await?;
        let output = std::fs::read_to_string(&output).context("cannot read the output")?;
        Ok((status, output, process.log()?))
    }
}
