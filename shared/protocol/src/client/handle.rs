//! The client's handle: recording, traces, connection, shutdown. What asks the server is in `questions.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;
use web_time::Instant;

use super::buffer::{Entry, Finish};
use super::current::Current;
use super::driver::{self, Driver};
use super::mailbox::{Asked, Command, Start};
use super::metrics::{ClientMetrics, Counters, DropReason};
use super::shared::{NotTaken, Shared, Status, lock};
use super::undelivered::{Outcome, PANICKED, Undelivered};
use super::{ClientBuilder, Result, Settings, TracingConfig, TracingError, transport};
use crate::wire::Limits;
use crate::{ExecutionStatus, FlowId, FlowVersion, TraceEvent, TraceId};

/// How long `connect()` waits before it leaves the connection to the background.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long dropping the last handle may take when there is something to deliver.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

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

    /// Begins a trace and gives its id, at once: the server hears of it with the first batch. The first call names the trace that
    /// what was recorded before belongs to.
    ///
    /// # Errors
    /// [`TracingError::Disconnected`] after [`shutdown`](Self::shutdown).
    pub async fn start_trace(&self, flow_id: FlowId, version: FlowVersion) -> Result<TraceId> {
        if !self.is_enabled() {
            return Ok(TraceId::new());
        }
        if self.shared.is_closed() {
            return Err(TracingError::Disconnected);
        }
        let trace_id = self.own.start();
        self.shared.sampler.started(trace_id, driver::names(&self.shared.settings, Some(&flow_id.0)));
        self.command_when_room(Command::Start(Start { trace_id, flow_id: flow_id.0, version })).await?;
        Ok(TraceId(trace_id))
    }

    /// Ends a trace, after everything recorded so far. `Pending` and `Running` are no ends.
    ///
    /// # Errors
    /// [`TracingError::WebSocketError`] when the status is no end; [`TracingError::Disconnected`] after [`shutdown`](Self::shutdown).
    pub async fn end_trace(&self, trace_id: TraceId, status: ExecutionStatus) -> Result<()> {
        if !self.is_enabled() {
            return Ok(());
        }
        if !is_end(&status) {
            let message = "a trace ends as Completed, Failed or Cancelled".to_owned();
            return Err(TracingError::WebSocketError(message));
        }
        self.command_when_room(Command::End { trace_id: trace_id.0, status }).await?;
        if let Some(next) = self.own.end(trace_id.0) {
            self.shared.command(Command::Own(next));
        }
        Ok(())
    }

    /// The trace begun last; before the first, the id it will have.
    pub fn current_trace_id(&self) -> TraceId {
        TraceId(self.own.get())
    }

    /// Records an event of a trace. Waits only if the buffer is full and the setting for that is [`super::WhenFull::Wait`].
    ///
    /// # Errors
    /// [`TracingError::Disconnected`] after [`shutdown`](Self::shutdown).
    pub async fn record_event(&self, trace_id: TraceId, event: TraceEvent) -> Result<()> {
        self.record_unfinished(trace_id.0, event, None, None).await
    }

    /// Records an event of a trace. `fate` is as [`Sampler::keep`](super::sampling::Sampler::keep) has it; `finish` is done to the event in the
    /// background and holds so many bytes.
    pub(super) async fn record_unfinished(
        &self,
        trace_id: Uuid,
        event: TraceEvent,
        fate: Option<Uuid>,
        finish: Option<(Finish, usize)>,
    ) -> Result<()> {
        match self.entry(trace_id, event, fate, finish)? {
            Some(entry) => self.shared.offer_or_wait(entry).await,
            None => Ok(()),
        }
    }

    /// What goes into the buffer; nothing if tracing is off or sampling leaves the event out.
    #[inline]
    fn entry(
        &self,
        trace_id: Uuid,
        mut event: TraceEvent,
        fate: Option<Uuid>,
        finish: Option<(Finish, usize)>,
    ) -> Result<Option<Entry>> {
        if !self.is_enabled() {
            return Ok(None);
        }
        if !self.shared.sampler.keep(trace_id, &mut event, fate) {
            Counters::add(&self.shared.counters.events_sampled_out, 1);
            return Ok(None);
        }
        let (finish, held) = finish.map_or((None, 0), |(finish, held)| (Some(finish), held));
        let mut entry = Entry::new(trace_id, event, finish);
        entry.bytes += held;
        self.started_for(&entry)?;
        Ok(Some(entry))
    }

    /// The same without waiting, for callers that are not async. A full buffer drops, the new event where the setting is to wait.
    ///
    /// # Errors
    /// [`TracingError::Disconnected`] after [`shutdown`](Self::shutdown).
    pub fn record(&self, trace_id: &TraceId, event: TraceEvent) -> Result<()> {
        let Some(entry) = self.entry(trace_id.0, event, None, None)? else { return Ok(()) };
        match self.shared.offer(entry) {
            Ok(()) => Ok(()),
            Err(NotTaken::Full(entry)) => {
                self.shared.drop_entry(&entry, DropReason::BufferFull);
                Ok(())
            }
            Err(NotTaken::Closed) => Err(TracingError::Disconnected),
        }
    }

    /// Waits until everything recorded so far is acked, at most 10 s ([`Settings::flush_timeout`]).
    ///
    /// # Errors
    /// [`TracingError::Timeout`] when something was not, [`TracingError::WebSocketError`] when something was lost for good since the last
    /// flush; [`flush_within`](Self::flush_within) says what.
    pub async fn flush(&self) -> Result<()> {
        self.flush_within(self.shared.settings.flush_timeout).await.map_err(|undelivered| told(&undelivered))
    }

    /// Waits until everything recorded so far is settled, at most `timeout`. `Ok`: all of it is stored, and nothing was lost since
    /// the last flush.
    ///
    /// # Errors
    /// What was not acked in time, which stays where it is and is sent on; and apart from it what was dropped or refused for good since
    /// the last flush.
    pub async fn flush_within(&self, timeout: Duration) -> Outcome {
        if !self.is_enabled() {
            return Ok(());
        }
        self.asked(timeout, Command::Flush).await
    }

    /// Ends the traces that this client has begun and not ended (as failed, if an actor of theirs failed), delivers everything
    /// recorded so far, at most for 10 s ([`Settings::flush_timeout`]), and disconnects. What is recorded afterwards is dropped, until
    /// the next `connect`.
    ///
    /// # Errors
    /// [`TracingError::Timeout`] when something was not delivered, [`TracingError::WebSocketError`] when something was lost for good
    /// since the last flush; [`shutdown_within`](Self::shutdown_within) says what.
    pub async fn shutdown(&self) -> Result<()> {
        self.shutdown_within(self.shared.settings.flush_timeout).await.map_err(|undelivered| told(&undelivered))
    }

    /// [`shutdown`](Self::shutdown) within `timeout`. Of two at once each is answered within its own; the client ends with the later.
    ///
    /// # Errors
    /// What was not acked in time: what of it is in the spool is sent at the next start, the rest is lost. Apart from it what was
    /// dropped or refused for good since the last flush.
    pub async fn shutdown_within(&self, timeout: Duration) -> Outcome {
        self.end_within(timeout, None).await
    }

    /// [`shutdown_within`](Self::shutdown_within), which ends the [current](Self::current_trace_id) trace with this status and not by its own
    /// events. For a program whose other tasks may still record: they can do so until this call and no longer, whereas between an
    /// [`end_trace`](Self::end_trace) and a shutdown they would begin another trace. `Pending` and `Running` are no ends: then its events
    /// tell how it ended.
    ///
    /// # Errors
    /// As [`shutdown_within`](Self::shutdown_within).
    pub async fn shutdown_as(&self, status: ExecutionStatus, timeout: Duration) -> Outcome {
        self.end_within(timeout, Some(status).filter(is_end)).await
    }

    async fn end_within(&self, timeout: Duration, status: Option<ExecutionStatus>) -> Outcome {
        if !self.is_enabled() {
            return Ok(());
        }
        self.shared.set_closed(true);
        let ran = self.shared.mailbox.is_open();
        let own = self.own.get();
        let outcome = self.asked(timeout, |asked| Command::Shutdown(asked, status.map(|status| (own, status)))).await;
        if ran && !self.shared.mailbox.is_open() {
            lock(&self.background).take();
            self.own.reset();
        }
        outcome
    }

    /// What was delivered, by the background, or by what is known where there is none.
    async fn asked(&self, timeout: Duration, command: impl FnOnce(Asked) -> Command) -> Outcome {
        let since = self.shared.told();
        let (reply, answer) = oneshot::channel();
        if !self.shared.command(command(Asked { deadline: deadline(timeout), since, reply: Some(reply) })) {
            return self.shared.outcome(&since, Undelivered::default());
        }
        let silent = || Undelivered { reason: PANICKED.to_owned(), ..Undelivered::default() };
        answer.await.unwrap_or_else(|_| Err(silent()))
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

    async fn command_when_room(&self, command: Command) -> Result<()> {
        self.start_background()?;
        if self.shared.command_when_room(command).await { Ok(()) } else { Err(TracingError::Disconnected) }
    }

    /// Starts the background for an event; where that cannot be, the event is dropped and counted.
    fn started_for(&self, entry: &Entry) -> Result<()> {
        self.start_background().inspect_err(|_| self.shared.drop_entry(entry, DropReason::Closed))
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

impl Drop for TracingClient {
    fn drop(&mut self) {
        let Some(background) = lock(&self.background).take() else { return };
        self.shared.set_closed(true);
        let since = self.shared.told();
        let asked = Asked { deadline: deadline(DROP_PATIENCE), since, reply: None };
        self.shared.command(Command::Shutdown(asked, None));
        // Without a connection there is nothing to wait for but the spool, which is quick.
        transport::join(&background, DROP_PATIENCE + DROP_PATIENCE / 5);
    }
}

fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    // A timeout beyond what a clock can hold is one for ever.
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 86_400))
}

fn is_end(status: &ExecutionStatus) -> bool {
    !matches!(status, ExecutionStatus::Pending | ExecutionStatus::Running)
}

/// As well as the published errors can say it.
fn told(undelivered: &Undelivered) -> TracingError {
    tracing::warn!(%undelivered, "not everything was delivered");
    if undelivered.waits() { TracingError::Timeout } else { TracingError::WebSocketError(undelivered.to_string()) }
}
