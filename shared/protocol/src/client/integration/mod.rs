//! The interface for actor systems: one call for each thing that happens to an actor.
//!
//! The calls of the published crate are here with the same signatures; `reflow_network` makes them. They know little of a message: its
//! type's discriminant and the size of an enum. What can say more is in `newer.rs` (content, state, ports) and `run.rs` (measured times).
//!
//! Guarantee: a call builds its event, sees what led to it, asks the sampler and puts it into the buffer, and nothing else on the
//! caller's thread: no network, no hashing, no compression. It waits only where the buffer is full and the setting for that is to wait.

mod newer;
mod run;

use std::sync::Arc;

use chrono::Utc;
use uuid::Uuid;

use super::buffer::Finish;
use super::causality::{Cause, Edges, apply_scope};
use super::{Result, TracingClient};
use crate::{ExecutionStatus, FlowId, FlowVersion, TraceEvent, TraceEventType, TraceId};

pub use run::ActorRun;

/// High-level API for tracing integration with actor systems. Clones share one client and one trace.
#[derive(Clone)]
pub struct TracingIntegration {
    client: Arc<TracingClient>,
    edges: Arc<Edges>,
}

impl TracingIntegration {
    /// Create a new tracing integration
    pub fn new(client: TracingClient) -> Self {
        Self { client: Arc::new(client), edges: Arc::default() }
    }

    /// Get access to the underlying client
    pub fn client(&self) -> Arc<TracingClient> {
        Arc::clone(&self.client)
    }

    /// Begins a trace of a flow, version 1.0.0. The first names the trace that what was recorded before belongs to; what is recorded
    /// from now on belongs to this one.
    ///
    /// # Errors
    /// As [`TracingClient::start_trace`].
    pub async fn start_flow_trace(&self, flow_id: impl Into<String>) -> Result<TraceId> {
        let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: Utc::now() };
        self.client.start_trace(FlowId::new(flow_id), version).await
    }

    /// Ends the trace that [`start_flow_trace`](Self::start_flow_trace) began, after everything recorded so far.
    ///
    /// # Errors
    /// As [`TracingClient::end_trace`].
    pub async fn end_flow_trace(&self, status: ExecutionStatus) -> Result<()> {
        self.client.end_trace(self.client.current_trace_id(), status).await
    }

    /// An actor was created.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_created(&self, actor_id: impl Into<String>) -> Result<()> {
        self.put(TraceEvent::actor_created(actor_id.into()), None).await
    }

    /// An actor finished its work. [`trace_actor_started`](Self::trace_actor_started) measures how long that took.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_completed(&self, actor_id: impl Into<String>) -> Result<()> {
        self.put(TraceEvent::actor_completed(actor_id.into()), None).await
    }

    /// A message left an out-port. Its size is told as it is passed, and as not measured if the type is a discriminant; it has no
    /// checksum. [`trace_message_sent_with`](Self::trace_message_sent_with) takes the content, and has both.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_message_sent(
        &self,
        actor_id: impl Into<String>,
        port: impl Into<String>,
        message_type: impl Into<String>,
        size_bytes: usize,
    ) -> Result<()> {
        let event = TraceEvent::message_sent(actor_id.into(), port.into(), message_type.into(), size_bytes);
        self.put(event, None).await
    }

    /// An actor failed. Never left out by sampling.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_failed(&self, actor_id: impl Into<String>, error: impl Into<String>) -> Result<()> {
        self.put(TraceEvent::actor_failed(actor_id.into(), error.into()), None).await
    }

    /// A message flowed along a connection. The `MessageSent` that this task told of the same port just before is its cause. Size
    /// and checksum as in [`trace_message_sent`](Self::trace_message_sent).
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_data_flow(
        &self,
        from_actor: impl Into<String>,
        from_port: impl Into<String>,
        to_actor: impl Into<String>,
        to_port: impl Into<String>,
        message_type: impl Into<String>,
        size_bytes: usize,
    ) -> Result<()> {
        let (from_actor, from_port) = (from_actor.into(), from_port.into());
        let event = TraceEvent::data_flow(
            from_actor,
            from_port,
            to_actor.into(),
            to_port.into(),
            message_type.into(),
            size_bytes,
        );
        self.put(event, None).await
    }

    /// Records an event of the current trace, under the scope that the caller is in, and gives it as a cause of others. For what has no
    /// method of its own.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_event(&self, event: TraceEvent) -> Result<Cause> {
        self.put_caused(event, None).await
    }

    /// Records without giving the cause, which would cost a copy.
    async fn put(&self, mut event: TraceEvent, finish: Option<(Finish, usize)>) -> Result<()> {
        let (trace_id, fate) = self.link(&mut event);
        self.client.record_unfinished(trace_id, event, fate, finish).await
    }

    /// Records with what is left to do in the background, and how many bytes that holds.
    async fn put_caused(&self, mut event: TraceEvent, finish: Option<(Finish, usize)>) -> Result<Cause> {
        let (trace_id, fate) = self.link(&mut event);
        let cause = Cause::of(&event);
        self.client.record_unfinished(trace_id, event, fate, finish).await?;
        Ok(cause)
    }

    /// Gives the trace that the event is of, and the event what led to it, where that is known. An event that names its parent itself is
    /// left as it is. Gives as well whose id decides in sampling, where that is not for the parent to do.
    fn link(&self, event: &mut TraceEvent) -> (Uuid, Option<Uuid>) {
        let (trace_id, mut fate) = (self.client.current_trace_id().0, None);
        if event.causality.parent_event_id.is_none() {
            let flow = matches!(event.event_type, TraceEventType::DataFlow { .. });
            let of_message = (flow && self.edges.flow(trace_id, event)) || apply_scope(event);
            fate = (!of_message).then_some(event.event_id.0);
        }
        if event.event_type == TraceEventType::MessageSent {
            self.edges.sent(trace_id, event);
        }
        (trace_id, fate)
    }
}
