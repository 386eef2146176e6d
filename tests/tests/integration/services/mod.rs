//! Several services over a real NATS and a real Postgres: what only shows between processes.

mod clocks;
mod contention;
mod flows;
mod large;
mod once;
mod pressure;
mod roles;
mod shutdown;
mod since;
mod smoke;
mod viewers;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use reflow_tracing_tests::{Client, Service, answers, events, frames::Batch};
use serde_json::{Value, json};

/// Sends batches without waiting in between; each is recorded whole.
async fn record_all(client: &mut Client, batches: &[Batch]) -> Result<()> {
    let requests: Vec<_> = batches.iter().map(Batch::request).collect();
    let answers = client.ask_all(&requests).await?;
    for (batch, answer) in batches.iter().zip(&answers) {
        let recorded = answers::batch_recorded(answer, batch.batch_id)?;
        ensure!(recorded == (batch.events.len() as u64, vec![]), "{answer:.500}");
    }
    Ok(())
}

/// A program's events in batches of one trace.
fn batches(flow_id: &str, count: usize, events_each: usize) -> Vec<Batch> {
    let mut batches = vec![Batch::new(flow_id, events::program(events_each))];
    while batches.len() < count {
        batches.extend(batches.last().map(|batch| batch.next(events::program(events_each))));
    }
    batches
}

/// The events of all batches, by their ids.
fn sent(batches: &[Batch]) -> BTreeMap<String, Value> {
    batches.iter().flat_map(|batch| answers::by_id(&batch.events)).collect()
}

/// Subscribes a v2 session.
async fn subscribe_v2(service: &Service, filters: &Value) -> Result<Client> {
    let mut viewer = service.connect_v2().await?;
    let answer = viewer.ask(&json!({"Subscribe": {"filters": filters, "subscription_id": "view"}})).await?;
    ensure!(answer["Subscribed"]["subscription_id"] == "view", "not subscribed: {answer}");
    Ok(viewer)
}
