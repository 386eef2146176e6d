//! What was sent and what was acknowledged, and whether the store agrees.
//!
//! The promise under test: what was acknowledged is stored, what is stored was sent, and every count of it (raw rows,
//! summaries, rollups, distinct event ids) is the same count. The store is read by SQL ([`Tables`]); the ids are read
//! through the protocol, because only that opens payloads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use crate::{
    answers, events,
    eventually::{eventually, patience},
    frames::{self, Batch},
    service::Service,
    tables::{Counts, Tables},
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

    /// Acked ⊆ stored ⊆ sent, batch by batch and trace by trace, while some may still be on their way. Nobody may send what
    /// this ledger does not know. Only where compaction is off: it merges the rows that this looks at.
    ///
    /// # Errors
    /// When an acknowledged batch does not become history, or something is there that was never sent.
    pub async fn check_batches<'a>(&self, tables: impl Into<Tables<'a>>) -> Result<()> {
        let tables = tables.into();
        let stored = eventually(patience(), || async {
            let stored = tables.chunks().await?;
            for (batch_id, _) in self.batches.iter().filter(|(_, entry)| entry.acked) {
                ensure!(stored.contains_key(batch_id), "batch {batch_id} was acknowledged and is not stored");
            }
            Ok(stored)
        })
        .await?;
        for (batch_id, events) in &stored {
            let sent = self.batches.get(batch_id);
            let sent =
                sent.with_context(|| format!("batch {batch_id} of {events} events is stored and nobody sent it"))?;
            let count = sent.events.len() as u64;
            ensure!(*events == count, "batch {batch_id} of {count} events is stored with {events}");
        }
        let traces = self.traces();
        for (trace_id, counted) in tables.summaries().await? {
            let sent = traces.get(&trace_id).with_context(|| format!("nobody sent trace {trace_id}"))?.len() as u64;
            ensure!(counted <= sent, "trace {trace_id}: the summary counts {counted} events, {sent} were sent");
        }
        Ok(())
    }

    /// Everything that was sent is stored, once, in every count. Only when everything was acknowledged.
    ///
    /// # Errors
    /// When a count differs, or a trace does not hold exactly what was sent.
    pub async fn check_all<'a>(&self, tables: impl Into<Tables<'a>>, service: &Service) -> Result<()> {
        self.check_counts(tables).await?;
        self.check_traces(service).await
    }

    /// Raw rows, summaries and rollups hold what was sent, in sum and trace by trace. Only when everything was acknowledged.
    ///
    /// # Errors
    /// When a count differs.
    pub async fn check_counts<'a>(&self, tables: impl Into<Tables<'a>>) -> Result<()> {
        let tables = tables.into();
        ensure!(self.batches_acked() == self.batches_sent(), "not everything was acknowledged");
        let sent = self.events_sent();
        eventually(patience(), || async {
            let counts = tables.counts().await?;
            let expected = Counts { rows: sent, summaries: sent, rollups: sent };
            ensure!(counts == expected, "stored is {counts:?}, sent were {sent} events");
            Ok(())
        })
        .await?;
        let summaries = tables.summaries().await?;
        let traces = self.traces();
        ensure!(summaries.len() == traces.len(), "{} traces stored, {} sent", summaries.len(), traces.len());
        for (trace_id, sent) in &traces {
            let counted = summaries.get(trace_id);
            ensure!(counted == Some(&(sent.len() as u64)), "trace {trace_id}: the summary counts {counted:?}");
        }
        Ok(())
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

    /// The traces of which something was sent since an earlier look, whole.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let new = self.batches.iter().filter(|(id, _)| !earlier.batches.contains_key(*id));
        let traces: BTreeSet<Uuid> = new.map(|(_, entry)| entry.trace_id).collect();
        let of_them = self.batches.iter().filter(|(_, entry)| traces.contains(&entry.trace_id));
        Self { batches: of_them.map(|(id, entry)| (*id, entry.clone())).collect() }
    }

    /// Adds what another one holds; their batches are different ones.
    pub fn add(&mut self, other: &Self) {
        self.batches.extend(other.batches.clone());
    }

    /// The ids of the events that were sent, by trace.
    #[must_use]
    pub fn traces(&self) -> BTreeMap<Uuid, BTreeSet<&str>> {
        let mut traces: BTreeMap<Uuid, BTreeSet<&str>> = BTreeMap::new();
        for entry in self.batches.values() {
            traces.entry(entry.trace_id).or_default().extend(entry.events.iter().map(String::as_str));
        }
        traces
    }
}
