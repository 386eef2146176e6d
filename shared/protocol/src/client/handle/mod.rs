//! The client's handle: what it is made of, its connection, and how things stand. `record.rs` has traces and events, `deliver.rs` flushes and
//! the end. What asks the server is in `questions.rs`.

mod deliver;
mod record;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use web_time::Instant;

use super::current::Current;
use super::driver::{self, Driver};
use super::mailbox::Command;
use super::metrics::ClientMetrics;
use super::shared::{Shared, Status, lock};
use super::{ClientBuilder, Result, Settings, TracingConfig, TracingError, transport};
use crate::wire::Limits;

/// How long `connect()` waits before it leaves the connection to the background.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Client of a tracing server: records events and asks for them.
///
/// Recording never waits for the network: events go into a buffer, from where a background thread (in browsers: a task) sends them in
/// batches, again and again until the server has acked them. See the [module](super) for the whole interface.
///
/// Dropping the client delivers what it can within half a second; [`TracingClient::shutdown_within`] takes the time it is given and
/// says what it could not deliver.
pub struct TracingClient {
    pub(super) shared: Arc<Shared>,
    own: Current,
    background: Mutex<Option<transport::Background>>,
}

impl TracingClient {
    /// A client with this configuration, and settings from the environment. Nothing happens until it is used.
    pub fn new(config: TracingConfig) -> Self {
        Self::with_settings(config, Settings::from_env())
    }

    /// A client with the default configuration.
    pub fn with_default_config() -> Self {
        Self::new(TracingConfig::default())
    }

    /// A client of this server, everything else by default.
    pub fn with_server_url(url: impl Into<String>) -> Self {
        Self::new(TracingConfig { server_url: url.into(), ..TracingConfig::default() })
    }

    /// A client with settings that [`TracingConfig`] has no field for; those of the environment are where it starts.
    pub fn builder(config: TracingConfig) -> ClientBuilder {
        ClientBuilder::new(config)
    }

    pub(super) fn with_settings(config: TracingConfig, settings: Settings) -> Self {
        Self { shared: Arc::new(Shared::new(config, settings)), own: Current::new(), background: Mutex::default() }
    }

    /// Connects. `Ok` once connected, or after 2 s: then events wait in the buffer and the connection is tried on in the background,
    /// so that a server which is away never keeps a program from tracing.
    ///
    /// # Errors
    /// [`TracingError::ConnectionFailed`] when the url is none.
    pub async fn connect(&self) -> Result<()> {
        self.connect_until(CONNECT_PATIENCE, self.shared.settings.buffer_bytes == 0).await
    }

    /// Connects within `timeout`.
    ///
    /// # Errors
    /// [`TracingError::ConnectionFailed`] with the last attempt's reason; [`TracingError::Timeout`] where there was none. The connection is
    /// tried on in the background all the same.
    pub async fn connect_within(&self, timeout: Duration) -> Result<()> {
        self.connect_until(timeout, true).await
    }

    async fn connect_until(&self, timeout: Duration, strict: bool) -> Result<()> {
        if !self.is_enabled() {
            return Ok(());
        }
        driver::urls(&self.shared.config.server_url)?;
        self.shared.set_closed(false);
        let (reply, answer) = oneshot::channel();
        self.command(Command::Connect { deadline: deadline(timeout), strict, reply })?;
        answer.await.unwrap_or(Err(TracingError::Disconnected))
    }

    /// Whether there is a connection right now.
    pub fn is_connected(&self) -> bool {
        self.shared.state().status == Status::Connected
    }

    /// `Disconnected`, `Connecting`, `Connected` or `Reconnecting`.
    pub fn connection_status(&self) -> String {
        format!("{:?}", self.shared.state().status)
    }

    /// Why the last attempt to connect failed, the last connection broke, or the server last refused a batch; `None` once it has taken
    /// something.
    pub fn last_error(&self) -> Option<String> {
        self.shared.state().last_error.clone()
    }

    /// Which of its servers the client is, or was last, connected to: the url, without name and password. `None` before the first connection.
    pub fn server_url(&self) -> Option<String> {
        self.shared.state().server.clone()
    }

    /// What the server allows, once connected in protocol v2.
    pub fn server_limits(&self) -> Option<Limits> {
        self.shared.state().limits.clone()
    }

    /// The client's own figures.
    pub fn metrics(&self) -> ClientMetrics {
        self.shared.metrics()
    }

    /// The id that the client gave itself; it is in every batch, and in what the server tells of a trace. What is recorded after a shutdown and
    /// another `connect`, or late to a trace that was forgotten among 4,096 newer ones, is counted under this id, a dot and a number.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// The published configuration it was made with.
    pub fn config(&self) -> &TracingConfig {
        &self.shared.config
    }

    /// The settings beside it.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.shared.config.enabled
    }

    pub(super) fn command(&self, command: Command) -> Result<()> {
        self.start_background()?;
        if self.shared.command(command) { Ok(()) } else { Err(TracingError::Disconnected) }
    }

    /// Starts the background at the first use, and after a shutdown at the next `connect`.
    fn start_background(&self) -> Result<()> {
        if self.shared.mailbox.is_open() {
            return Ok(());
        }
        let mut background = lock(&self.background);
        if self.shared.is_closed() {
            return Err(TracingError::Disconnected);
        }
        if self.shared.mailbox.is_open() {
            return Ok(());
        }
        let own = self.own.get();
        let shared = Arc::clone(&self.shared);
        let urls = driver::urls(&shared.config.server_url)?;
        self.shared.state().failure = None;
        // Before it runs: it may end, and say so, at once.
        self.shared.mailbox.open();
        let started = transport::run(move || Box::pin(Driver::new(shared, urls, own).run()));
        let started = started.map_err(|error| {
            self.shared.mailbox.close();
            TracingError::ConnectionFailed(format!("no background: {error}"))
        })?;
        *background = Some(started);
        Ok(())
    }
}

fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    // A timeout beyond what a clock can hold is one for ever.
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 86_400))
}
