//! Traces begin and end, and events are recorded: nothing here waits for the network.

use uuid::Uuid;

use super::TracingClient;
use crate::client::buffer::{Entry, Finish};
use crate::client::mailbox::{Command, Start};
use crate::client::metrics::{Counters, DropReason};
use crate::client::shared::NotTaken;
use crate::client::{Result, TracingError, driver};
use crate::{ExecutionStatus, FlowId, FlowVersion, TraceEvent, TraceId};

impl TracingClient {
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

    /// Records an event of a trace. Waits only if the buffer is full and the setting for that is [`WhenFull::Wait`](crate::client::WhenFull::Wait).
    ///
    /// # Errors
    /// [`TracingError::Disconnected`] after [`shutdown`](Self::shutdown).
    pub async fn record_event(&self, trace_id: TraceId, event: TraceEvent) -> Result<()> {
        self.record_unfinished(trace_id.0, event, None, None).await
    }

    /// Records an event of a trace. `fate` is as [`Sampler::keep`](crate::client::sampling::Sampler::keep) has it; `finish` is done to the event in the
    /// background and holds so many bytes.
    pub(in crate::client) async fn record_unfinished(
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

    async fn command_when_room(&self, command: Command) -> Result<()> {
        self.start_background()?;
        if self.shared.command_when_room(command).await { Ok(()) } else { Err(TracingError::Disconnected) }
    }

    /// Starts the background for an event; where that cannot be, the event is dropped and counted.
    fn started_for(&self, entry: &Entry) -> Result<()> {
        self.start_background().inspect_err(|_| self.shared.drop_entry(entry, DropReason::Closed))
    }
}

/// Whether a trace can end so.
pub(super) fn is_end(status: &ExecutionStatus) -> bool {
    !matches!(status, ExecutionStatus::Pending | ExecutionStatus::Running)
}
