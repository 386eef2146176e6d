//! What most tests need: `reflow-tracing` on an SQLite file, and ways to put traces in and get them out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, Service, answers, eventually, frames, patience};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// The one-process binary; stops when dropped, before its folder goes.
pub struct Standalone {
    pub service: Service,
    _folder: TempDir,
}

impl Standalone {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
        Ok(Self { service, _folder: folder })
    }

    pub async fn connect(&self) -> Result<Client> {
        self.service.connect().await
    }

    /// The trace as soon as it has so many events: history follows an acknowledgement within half a second.
    pub async fn trace_with(&self, trace_id: Uuid, events: usize) -> Result<Value> {
        trace_with(&self.service, trace_id, events).await
    }

    /// The trace as soon as its status is this.
    pub async fn trace_in(&self, trace_id: Uuid, status: &Value) -> Result<Value> {
        eventually(patience(), || async {
            let trace = get(&self.service, trace_id).await?.context("no such trace")?;
            ensure!(trace["status"] == *status, "the status is {}", trace["status"]);
            Ok(trace)
        })
        .await
    }

    /// Records a trace as a program that means its id does, and hangs up.
    pub async fn store(&self, flow_id: &str, events: &[Value]) -> Result<Uuid> {
        let mut client = self.connect().await?;
        let trace_id = record(&mut client, flow_id, events).await?;
        client.hang_up();
        Ok(trace_id)
    }
}

/// The trace of a service as soon as it has so many events; it must never have more.
pub async fn trace_with(service: &Service, trace_id: Uuid, events: usize) -> Result<Value> {
    eventually(patience(), || async {
        let trace = get(service, trace_id).await?.context("no such trace")?;
        let count = answers::events(&trace)?.len();
        ensure!(count == events, "{count} of {events} events are there");
        Ok(trace)
    })
    .await
}

/// The trace of an id, or `None`.
pub async fn get(service: &Service, trace_id: Uuid) -> Result<Option<Value>> {
    let answer = service.connect().await?.ask(&frames::get_trace(trace_id)).await?;
    Ok(answers::trace(&answer)?.cloned())
}

/// Starts a trace and records its events under the id that the server gave; all are acknowledged.
pub async fn record(client: &mut Client, flow_id: &str, events: &[Value]) -> Result<Uuid> {
    let trace_id = answers::started(&client.ask(&frames::start_trace(flow_id)).await?)?;
    record_under(client, &vec![trace_id; events.len()], events).await?;
    Ok(trace_id)
}

/// Records each event under the id beside it; all are acknowledged.
pub async fn record_under(client: &mut Client, ids: &[Uuid], events: &[Value]) -> Result<()> {
    let requests: Vec<_> = ids.iter().zip(events).map(|(id, event)| frames::record_event(*id, event)).collect();
    client.ask_all(&requests).await?.iter().try_for_each(answers::recorded)
}

/// As many random ids, as published clients make them.
pub fn random_ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::new_v4()).collect()
}

/// Fails unless the trace holds exactly these events, unchanged.
pub fn ensure_holds(trace: &Value, sent: &[Value]) -> Result<()> {
    let (stored, sent) = (answers::events(trace)?, answers::by_id(sent));
    ensure_equal(&stored, &sent)
}

/// Says which event differs, instead of printing both maps.
pub fn ensure_equal(stored: &BTreeMap<String, Value>, sent: &BTreeMap<String, Value>) -> Result<()> {
    ensure!(stored.len() == sent.len(), "{} events stored, {} sent", stored.len(), sent.len());
    for (id, event) in sent {
        let found = stored.get(id).with_context(|| format!("event {id} is not there"))?;
        ensure!(found == event, "event {id} was sent as {event} and stored as {found}");
    }
    Ok(())
}
