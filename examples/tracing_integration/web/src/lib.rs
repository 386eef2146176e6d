//! The tracing client for JavaScript: one class, `Tracer`, which records what a page does as one trace.
//!
//! Only what the example page needs. A program of yours will want other words: copy this file and change it.

#![cfg(target_arch = "wasm32")]

use std::time::Duration;

use reflow_tracing_protocol::client::{TracingClient, TracingConfig};
use reflow_tracing_protocol::{ExecutionStatus, FlowId, FlowVersion, TraceEvent, TraceId};
use wasm_bindgen::prelude::*;

/// One trace. Events wait in a buffer until the server has them, also while the connection is away.
#[wasm_bindgen]
pub struct Tracer {
    client: TracingClient,
    trace_id: TraceId,
}

#[wasm_bindgen]
impl Tracer {
    /// Connects to `url`, such as `ws://127.0.0.1:8080/`, and begins a trace of the flow.
    ///
    /// # Errors
    /// When the server cannot be reached within five seconds.
    pub async fn start(url: String, flow: String) -> Result<Tracer, JsError> {
        let client = TracingClient::new(TracingConfig { server_url: url, batch_size: 100, ..TracingConfig::default() });
        client.connect_within(Duration::from_secs(5)).await?;
        let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: chrono::Utc::now() };
        let trace_id = client.start_trace(FlowId::new(flow), version).await?;
        Ok(Self { client, trace_id })
    }

    /// The id of the trace.
    #[wasm_bindgen(getter, js_name = traceId)]
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }

    /// An actor was created.
    #[wasm_bindgen(js_name = actorCreated)]
    pub fn actor_created(&self, actor: String) -> Result<(), JsError> {
        self.record(TraceEvent::actor_created(actor))
    }

    /// A message of so many bytes went from a port of an actor to a port of another.
    #[wasm_bindgen(js_name = dataFlow)]
    pub fn data_flow(
        &self,
        from_actor: String,
        from_port: String,
        to_actor: String,
        to_port: String,
        message_type: String,
        bytes: usize,
    ) -> Result<(), JsError> {
        self.record(TraceEvent::data_flow(from_actor, from_port, to_actor, to_port, message_type, bytes))
    }

    /// An actor failed.
    #[wasm_bindgen(js_name = actorFailed)]
    pub fn actor_failed(&self, actor: String, error: String) -> Result<(), JsError> {
        self.record(TraceEvent::actor_failed(actor, error))
    }

    /// An actor has done its work.
    #[wasm_bindgen(js_name = actorCompleted)]
    pub fn actor_completed(&self, actor: String) -> Result<(), JsError> {
        self.record(TraceEvent::actor_completed(actor))
    }

    /// Ends the trace, and waits until the server has stored all of it.
    ///
    /// # Errors
    /// When it could not be delivered within ten seconds, with what is missing.
    pub async fn end(&self, failed: bool) -> Result<(), JsError> {
        let status = if failed {
            ExecutionStatus::Failed { error: "see its events".to_owned() }
        } else {
            ExecutionStatus::Completed
        };
        self.client.end_trace(self.trace_id.clone(), status).await?;
        Ok(self.client.flush_within(Duration::from_secs(10)).await?)
    }

    /// The trace as the server has it, as JSON; `undefined` when it has none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn history(&self) -> Result<Option<String>, JsError> {
        let trace = self.client.get_trace(self.trace_id.clone()).await?;
        Ok(trace.map(|trace| serde_json::to_string(&trace)).transpose()?)
    }

    /// Disconnects. Events that are recorded afterwards are errors.
    ///
    /// # Errors
    /// When something could not be delivered within ten seconds.
    pub async fn close(&self) -> Result<(), JsError> {
        Ok(self.client.shutdown().await?)
    }

    fn record(&self, event: TraceEvent) -> Result<(), JsError> {
        Ok(self.client.record(&self.trace_id, event)?)
    }
}
