//! What these tests need: a `reflow-tracing` on an SQLite file, and clients of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::{RetryConfig, TracingClient, TracingConfig};
use reflow_tracing_protocol::{FlowVersion, TraceEvent, TraceQuery};
use reflow_tracing_tests::{Service, answers, eventually, frames, patience};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// The one-process binary; stops when dropped, before its folder goes.
pub struct Server {
    pub service: Service,
    _folder: TempDir,
}

impl Server {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
        Ok(Self { service, _folder: folder })
    }

    /// A client of it, which tries again quickly.
    pub fn client(&self) -> TracingClient {
        TracingClient::new(config(&self.service.url()))
    }

    /// The trace with its events in v1 JSON, as soon as it has so many; it must never have more.
    pub async fn trace_with(&self, trace_id: Uuid, events: usize) -> Result<Value> {
        eventually(patience(), || async {
            let trace = self.trace(trace_id).await?.context("no such trace")?;
            let count = answers::events(&trace)?.len();
            ensure!(count == events, "{count} of {events} events are there");
            Ok(trace)
        })
        .await
    }

    /// The trace as soon as its status is this.
    pub async fn trace_in(&self, trace_id: Uuid, status: &Value) -> Result<Value> {
        eventually(patience(), || async {
            let trace = self.trace(trace_id).await?.context("no such trace")?;
            ensure!(trace["status"] == *status, "the status is {}", trace["status"]);
            Ok(trace)
        })
        .await
    }

    pub async fn trace(&self, trace_id: Uuid) -> Result<Option<Value>> {
        let answer = self.service.connect().await?.ask(&frames::get_trace(trace_id)).await?;
        Ok(answers::trace(&answer)?.cloned())
    }
}

/// A configuration that tries again quickly.
pub fn config(url: &str) -> TracingConfig {
    TracingConfig {
        server_url: url.to_owned(),
        retry_config: RetryConfig {
            initial_delay: Duration::from_millis(50),
            max_delay: Duration::from_millis(400),
            ..TracingConfig::default().retry_config
        },
        ..TracingConfig::default()
    }
}

pub fn version() -> FlowVersion {
    FlowVersion { major: 1, minor: 2, patch: 3, git_hash: None, timestamp: chrono::Utc::now() }
}

/// An event that tells its number.
pub fn event(number: usize) -> TraceEvent {
    TraceEvent::message_sent(format!("actor-{number}"), "out".into(), "Number".into(), 8)
}

/// A query that all traces match.
pub fn everything() -> TraceQuery {
    TraceQuery {
        flow_id: None,
        execution_id: None,
        time_range: None,
        status: None,
        actor_filter: None,
        limit: None,
        offset: None,
    }
}

/// Text that no codec makes much smaller.
pub fn noise(bytes: usize) -> String {
    (0..bytes).map(|_| char::from(rand::random_range(b' '..=b'~'))).collect()
}
