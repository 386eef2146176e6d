//! What was sent and what was acknowledged, and whether the store agrees.
//!
//! The promise under test: what was acknowledged is stored, what is stored was sent, and every count of it (raw rows,
//! summaries, rollups, distinct event ids) is the same count. The store is read by SQL, past all code of ours that could
//! make the same mistake twice; the ids are read through the protocol, because only that opens payloads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use crate::{
    answers,
    cluster::DATABASE,
    events,
    eventually::{eventually, patience},
    frames::{self, Batch},
    postgres::Postgres,
    service::Service,
};

/// Batches by their ids.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    batches: BTreeMap<Uuid, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    trace_id: Uuid,
    events: BTreeSet<String>,
    acked: bool,
}

/// What lies in the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events in raw rows.
    pub rows: u64,
    /// Events in summaries.
    pub summaries: u64,
    /// Events in rollups.
    pub rollups: u64,
}

impl Ledger {
    /// Batches that were all sent and acknowledged.
    #[must_use]
    pub fn of_acked(batches: &[Batch]) -> Self {
        let mut ledger = Self::default();
        for batch in batches {
            ledger.sent(batch);
            ledger.acked(batch.batch_id);
        }
        ledger
    }

    /// Notes a batch that is about to be sent, for the first time or again.
    pub fn sent(&mut self, batch: &Batch) {
        self.batches.entry(batch.batch_id).or_insert_with(|| Entry {
            trace_id: batch.trace_id,
            events: batch.events.iter().map(|event| events::id(event).to_owned()).collect(),
            acked: false,
        });
    }

    /// Notes an acknowledgement.
    pub fn acked(&mut self, batch_id: Uuid) {
        if let Some(entry) = self.batches.get_mut(&batch_id) {
            entry.acked = true;
        }
    }

    /// How many events were sent, each counted once however often it was sent.
    #[must_use]
    pub fn events_sent(&self) -> u64 {
        self.batches.values().map(|entry| entry.events.len() as u64).sum()
    }

    /// How many batches were acknowledged.
    #[must_use]
    pub fn batches_acked(&self) -> usize {
        self.batches.values().filter(|entry| entry.acked).count()
    }

    /// How many batches were sent.
    #[must_use]
    pub fn batches_sent(&self) -> usize {
        self.batches.len()
    }

    /// Acked ⊆ stored ⊆ sent, batch by batch, while others may still be on their way. Only where compaction is off: it
    /// merges the rows that this looks at.
    ///
    /// # Errors
    /// When an acknowledged batch does not become history, or something is there that was never sent.
    pub async fn check_batches(&self, postgres: &Postgres) -> Result<()> {
        eventually(patience(), || async {
            let stored = stored_batches(postgres).await?;
            for (batch_id, entry) in &self.batches {
                let events = stored.get(batch_id);
                ensure!(!entry.acked || events.is_some(), "batch {batch_id} was acknowledged and is not stored");
                ensure!(
                    events.is_none_or(|events| *events == entry.events.len() as u64),
                    "batch {batch_id} of {} events is stored with {events:?}",
                    entry.events.len()
                );
            }
            Ok(())
        })
        .await
    }

    /// Everything that was sent is stored, once, in every count. Only when everything was acknowledged.
    ///
    /// # Errors
    /// When a count differs, or a trace does not hold exactly what was sent.
    pub async fn check_all(&self, postgres: &Postgres, query: &Service) -> Result<()> {
        ensure!(self.batches_acked() == self.batches_sent(), "not everything was acknowledged");
        let sent = self.events_sent();
        eventually(patience(), || async {
            let counts = counts(postgres).await?;
            let expected = Counts { rows: sent, summaries: sent, rollups: sent };
            ensure!(counts == expected, "stored is {counts:?}, sent were {sent} events");
            Ok(())
        })
        .await?;
        let summaries = summaries(postgres).await?;
        let traces = self.traces();
        ensure!(summaries.len() == traces.len(), "{} traces stored, {} sent", summaries.len(), traces.len());
        for (trace_id, sent) in &traces {
            let counted = summaries.get(trace_id);
            ensure!(counted == Some(&(sent.len() as u64)), "trace {trace_id}: the summary counts {counted:?}");
        }
        self.check_traces(query).await
    }

    /// Each trace as a service tells it: its events are those that were sent, each once.
    ///
    /// # Errors
    /// When a trace holds something else.
    pub async fn check_traces(&self, service: &Service) -> Result<()> {
        let mut client = service.connect().await?;
        for (trace_id, sent) in &self.traces() {
            let answer = client.ask(&frames::get_trace(*trace_id)).await?;
            let trace = answers::trace(&answer)?.with_context(|| format!("trace {trace_id} is not there"))?;
            let stored = answers::events(trace)?;
            ensure!(
                stored.keys().map(String::as_str).eq(sent.iter().copied()),
                "trace {trace_id}: {} events stored, {} sent, or others",
                stored.len(),
                sent.len()
            );
        }
        Ok(())
    }

    /// What was acknowledged here is told by the service, and whatever of these traces it tells was sent according to `sent`,
    /// which may know of more: for a store that is a copy of an earlier time.
    ///
    /// # Errors
    /// When something is missing, or was never sent.
    pub async fn check_acked_within(&self, service: &Service, sent: &Self) -> Result<()> {
        let mut acked: BTreeMap<Uuid, BTreeSet<&str>> = BTreeMap::new();
        for entry in self.batches.values().filter(|entry| entry.acked) {
            acked.entry(entry.trace_id).or_default().extend(entry.events.iter().map(String::as_str));
        }
        let (mut client, sent) = (service.connect().await?, sent.traces());
        for (trace_id, events) in &acked {
            let answer = client.ask(&frames::get_trace(*trace_id)).await?;
            let trace = answers::trace(&answer)?.with_context(|| format!("trace {trace_id} is not there"))?;
            let stored = answers::events(trace)?;
            let lost = events.iter().filter(|event| !stored.contains_key(**event)).count();
            ensure!(lost == 0, "trace {trace_id}: {lost} of {} acknowledged events are not there", events.len());
            let known = sent.get(trace_id).context("a trace that was acknowledged and not sent")?;
            ensure!(stored.keys().all(|event| known.contains(event.as_str())), "trace {trace_id}: events nobody sent");
        }
        Ok(())
    }

    /// Adds what another one holds; their batches are different ones.
    pub fn add(&mut self, other: &Self) {
        self.batches.extend(other.batches.clone());
    }

    fn traces(&self) -> BTreeMap<Uuid, BTreeSet<&str>> {
        let mut traces: BTreeMap<Uuid, BTreeSet<&str>> = BTreeMap::new();
        for entry in self.batches.values() {
            traces.entry(entry.trace_id).or_default().extend(entry.events.iter().map(String::as_str));
        }
        traces
    }
}

/// What every count of the store says.
///
/// # Errors
/// When the store cannot be asked.
pub async fn counts(postgres: &Postgres) -> Result<Counts> {
    let sum = |table: &str, column: &str| format!("(SELECT coalesce(sum({column}), 0) FROM {table})");
    let sums = [sum("chunks", "events"), sum("traces", "event_count"), sum("rollups", "events")].join(", ");
    let row = postgres.sql(DATABASE, &format!("SELECT {sums}")).await?;
    let numbers: Vec<u64> = row.split('|').map(str::parse).collect::<Result<_, _>>().context(row.clone())?;
    let [rows, summaries, rollups] = numbers[..] else { anyhow::bail!("not three sums: {row}") };
    Ok(Counts { rows, summaries, rollups })
}

async fn stored_batches(postgres: &Postgres) -> Result<BTreeMap<Uuid, u64>> {
    pairs(&postgres.sql(DATABASE, "SELECT chunk_id, events FROM chunks").await?)
}

async fn summaries(postgres: &Postgres) -> Result<BTreeMap<Uuid, u64>> {
    pairs(&postgres.sql(DATABASE, "SELECT trace_id, event_count FROM traces").await?)
}

fn pairs(rows: &str) -> Result<BTreeMap<Uuid, u64>> {
    let parsed: BTreeMap<Uuid, u64> = rows
        .lines()
        .map(|row| {
            let (id, count) = row.split_once('|').context("not two columns")?;
            // A uuid, or the same as bytes: \x0123….
            Ok((Uuid::try_parse(id.trim_start_matches("\\x"))?, count.parse()?))
        })
        .collect::<Result<_>>()?;
    ensure!(parsed.len() == rows.lines().count(), "an id is there twice");
    Ok(parsed)
}
