//! A program with the product's own client, which goes on recording whatever happens to the services.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::{ClientMetrics, TracingClient, TracingConfig};
use reflow_tracing_protocol::{FlowId, FlowVersion, TraceEvent, TraceId};
use reflow_tracing_tests::{Ledger, frames::Batch, patience};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two events.
const PACE: Duration = Duration::from_millis(2);

/// A program at work.
pub struct Program {
    client: Arc<TracingClient>,
    trace_id: TraceId,
    stop: CancellationToken,
    task: JoinHandle<Result<Vec<Value>>>,
}

impl Program {
    pub async fn start(url: String) -> Result<Self> {
        let client = Arc::new(TracingClient::new(TracingConfig { server_url: url, ..TracingConfig::default() }));
        client.connect().await?;
        let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: chrono::Utc::now() };
        let trace_id = client.start_trace(FlowId("program".to_owned()), version).await?;
        let stop = CancellationToken::new();
        let (recording, trace, stopped) = (Arc::clone(&client), trace_id.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut events = Vec::new();
            while !stopped.is_cancelled() {
                tokio::time::sleep(PACE).await;
                let event = TraceEvent::message_sent("generator".into(), "out".into(), "Number".into(), 8);
                events.push(serde_json::to_value(&event)?);
                recording.record_event(trace.clone(), event).await?;
            }
            Ok(events)
        });
        Ok(Self { client, trace_id, stop, task })
    }

    /// Stops recording and waits for the acknowledgement of everything; what was recorded, as one batch of a ledger, and the
    /// client's own figures.
    pub async fn finish(self) -> Result<(Ledger, ClientMetrics)> {
        self.stop.cancel();
        let events = self.task.await.context("the program panicked")??;
        let recorded = events.len() as u64;
        self.client.flush_within(patience()).await?;
        let figures = self.client.metrics();
        ensure!(figures.events_dropped() == 0 && figures.events_acked == recorded, "{recorded} recorded: {figures:?}");
        let batch = Batch { trace_id: self.trace_id.0, ..Batch::new("program", events) };
        Ok((Ledger::of_acked(&[batch]), figures))
    }
}
