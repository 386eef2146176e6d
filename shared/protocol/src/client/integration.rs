//! Tracing for actor systems: one call for each thing that happens to an actor, all in one trace.

use std::sync::Arc;

use chrono::Utc;

use super::{Result, TracingClient};
use crate::{FlowId, FlowVersion, TraceEvent, TraceId};

/// High-level interface for actor systems. Clones share one client and one trace.
#[derive(Clone)]
pub struct TracingIntegration {
    client: Arc<TracingClient>,
}

impl TracingIntegration {
    /// Wraps a client.
    pub fn new(client: TracingClient) -> Self {
        Self { client: Arc::new(client) }
    }

    /// Begins the trace that all calls from here on belong to. What was traced before the first belongs to it as well.
    ///
    /// # Errors
    /// As [`TracingClient::start_trace`].
    pub async fn start_flow_trace(&self, flow_id: impl Into<String>) -> Result<TraceId> {
        let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: Utc::now() };
        self.client.start_trace(FlowId::new(flow_id), version).await
    }

    /// An actor was created.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_created(&self, actor_id: impl Into<String>) -> Result<()> {
        self.record(TraceEvent::actor_created(actor_id.into())).await
    }

    /// An actor finished its work.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_completed(&self, actor_id: impl Into<String>) -> Result<()> {
        self.record(TraceEvent::actor_completed(actor_id.into())).await
    }

    /// A message left an out-port.
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
        self.record(TraceEvent::message_sent(actor_id.into(), port.into(), message_type.into(), size_bytes)).await
    }

    /// An actor failed.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`].
    pub async fn trace_actor_failed(&self, actor_id: impl Into<String>, error: impl Into<String>) -> Result<()> {
        self.record(TraceEvent::actor_failed(actor_id.into(), error.into())).await
    }

    /// A message flowed along a connection.
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
        self.record(TraceEvent::data_flow(
            from_actor.into(),
            from_port.into(),
            to_actor.into(),
            to_port.into(),
            message_type.into(),
            size_bytes,
        ))
        .await
    }

    /// The client within.
    pub fn client(&self) -> Arc<TracingClient> {
        Arc::clone(&self.client)
    }

    async fn record(&self, event: TraceEvent) -> Result<()> {
        self.client.record_event(self.client.current_trace_id(), event).await
    }
}
