//! What becomes of deliveries: committed and acked, given back for later, or moved to the dead letters.
//!
//! Guarantee: a delivery is acked only after its chunk is committed, and terminated only after it is in the dead letters.
//! Whatever goes wrong in between means one more delivery, which changes nothing in the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, Delivery};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::spans;
use reflow_tracing_store::{StoreError, StoreErrorKind, StoreWriter};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tracing::Instrument;
use uuid::Uuid;

use crate::group::{Group, answer_all};
use crate::hooks::Hooks;
use crate::metrics::WriterMetrics;
use crate::options::WriterOptions;

/// Chunks remembered as failing at most; beyond it their counts begin anew, which only keeps them in the bus for longer.
const MAX_FAILING: usize = 10_000;

/// How settling went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Each delivery got what it deserved.
    Settled,
    /// The store takes nothing now; what was not stored was given back.
    StoreAway,
}

/// Settles deliveries, one batch after the other.
pub(crate) struct Settler {
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn StoreWriter>,
    pub hooks: Arc<dyn Hooks>,
    pub options: WriterOptions,
    pub metrics: WriterMetrics,
    /// Chunks that failed for reasons of their own, by id.
    failing: HashMap<Uuid, Failing>,
    commits: u64,
    /// Failures of the store in a row.
    away: u32,
}

struct Failing {
    times: u32,
    /// Commits there had been at the first failure.
    commits_before: u64,
}

/// Why a transaction failed, as far as it decides what comes next.
enum Failure {
    /// Nothing can be stored now.
    Away,
    /// Some chunk of it can never be stored.
    Rejected(String),
    /// It may be the chunk, it may be the store.
    Doubtful(String),
}

impl Settler {
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn StoreWriter>,
        hooks: Arc<dyn Hooks>,
        options: WriterOptions,
        metrics: WriterMetrics,
    ) -> Self {
        Self { bus, store, hooks, options, metrics, failing: HashMap::new(), commits: 0, away: 0 }
    }

    /// The pause that the store needs now.
    pub fn pause(&self) -> Duration {
        self.options.retry_pause(self.away)
    }

    /// Settles all deliveries, unless the store is away.
    pub async fn settle(&mut self, deliveries: Vec<Delivery>) -> Verdict {
        let redelivered = deliveries.iter().filter(|delivery| delivery.attempt > 1).count();
        self.metrics.redeliveries.inc_by(redelivered as u64);
        let mut group = Group::default();
        for delivery in deliveries {
            match Chunk::decode(delivery.message.clone()) {
                Ok(chunk) => group.push(chunk, delivery),
                Err(error) => self.bury(delivery, "undecodable", &error.to_string()).await,
            }
        }
        if group.len() == 0 {
            return Verdict::Settled;
        }
        self.hooks.before_commit().await;
        match self.commit(&group).await {
            Ok(()) => self.ack(group).await,
            Err(Failure::Away) => return self.step_back(group.into_deliveries()).await,
            Err(Failure::Rejected(reason) | Failure::Doubtful(reason)) => {
                tracing::warn!(chunks = group.len(), reason, "group failed, trying its chunks one by one");
                return self.one_by_one(group).await;
            }
        }
        Verdict::Settled
    }

    /// Gives back deliveries because the store takes nothing now.
    pub async fn step_back(&mut self, deliveries: Vec<Delivery>) -> Verdict {
        let pause = self.pause();
        for _ in &deliveries {
            self.metrics.nak("store");
        }
        let lost = answer_all(deliveries, |delivery| delivery.acker.nak(pause)).await;
        self.metrics.answers_lost.inc_by(lost);
        Verdict::StoreAway
    }

    async fn one_by_one(&mut self, group: Group) -> Verdict {
        let mut singles = group.split();
        while let Some(single) = singles.next() {
            let outcome = self.commit(&single).await;
            let chunk_id = single.chunks().first().map(|chunk| chunk.header.chunk_uuid()).unwrap_or_default();
            match outcome {
                Ok(()) => self.ack(single).await,
                Err(Failure::Away) => {
                    let rest = singles.flat_map(Group::into_deliveries);
                    let held = single.into_deliveries().into_iter().chain(rest).collect();
                    return self.step_back(held).await;
                }
                Err(Failure::Rejected(reason)) => {
                    for delivery in single.into_deliveries() {
                        self.bury(delivery, "rejected", &reason).await;
                    }
                }
                Err(Failure::Doubtful(reason)) => {
                    let hopeless = self.fails_alone(chunk_id);
                    for delivery in single.into_deliveries() {
                        match hopeless {
                            true => self.bury(delivery, "failing", &reason).await,
                            false => self.nak(delivery, "failing").await,
                        }
                    }
                }
            }
        }
        Verdict::Settled
    }

    async fn commit(&mut self, group: &Group) -> Result<(), Failure> {
        let (began, span) = (Instant::now(), group.commit_span());
        let commit = self.store.commit(group.chunks(), (self.options.clock)()).instrument(span.clone());
        let error = match timeout(self.options.commit_timeout, self.beside_progress(group, commit)).await {
            Ok(Ok(outcome)) => {
                self.commits += 1;
                self.away = 0;
                self.metrics.store_away.set(0);
                self.metrics.committed(&outcome, group.len(), group.bytes(), began.elapsed());
                span.record("reflow.stored_chunks", outcome.stored as i64);
                span.record("reflow.duplicate_chunks", outcome.duplicates as i64);
                span.record("reflow.rows", outcome.rows as i64);
                spans::ended(&span, "ok", false);
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let reason = format!("no answer within {:?}", self.options.commit_timeout);
                self.metrics.commit_failed("timeout");
                spans::ended(&span, "timeout", true);
                return Err(self.store_away(&StoreError::new(StoreErrorKind::Unavailable, "commit", reason)));
            }
        };
        self.metrics.commit_failed(kind_name(error.kind));
        spans::ended(&span, kind_name(error.kind), true);
        Err(match error.kind {
            StoreErrorKind::Rejected => Failure::Rejected(error.to_string()),
            StoreErrorKind::Corrupt => Failure::Doubtful(error.to_string()),
            // A schema or a lock is mended by an operator while chunks wait in the bus.
            _ => self.store_away(&error),
        })
    }

    /// Keeps the bus from delivering the group again while its commit takes long.
    async fn beside_progress<T>(&self, group: &Group, commit: impl Future<Output = T>) -> T {
        let every = self.options.progress_interval.max(Duration::from_millis(1));
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(commit);
        loop {
            tokio::select! {
                done = &mut commit => return done,
                _ = ticks.tick() => group.progress().await,
            }
        }
    }

    fn store_away(&mut self, error: &StoreError) -> Failure {
        self.away = self.away.saturating_add(1);
        self.metrics.store_away.set(1);
        // One line when it begins, then ever rarer: an outage must not fill the log as well.
        if self.away.is_power_of_two() {
            tracing::warn!(%error, times = self.away, "store takes nothing now; chunks wait in the bus");
        }
        Failure::Away
    }

    async fn ack(&mut self, group: Group) {
        self.hooks.before_ack().await;
        if !self.failing.is_empty() {
            for chunk in group.chunks() {
                self.failing.remove(&chunk.header.chunk_uuid());
            }
        }
        let lost = answer_all(group.into_deliveries(), |delivery| delivery.acker.ack()).await;
        self.metrics.answers_lost.inc_by(lost);
    }

    /// Counts a failure of a chunk alone; true when it has failed so often, while others were stored, that it is hopeless.
    fn fails_alone(&mut self, chunk_id: Uuid) -> bool {
        if self.failing.len() >= MAX_FAILING && !self.failing.contains_key(&chunk_id) {
            self.failing.clear();
        }
        let fresh = Failing { times: 0, commits_before: self.commits };
        let failing = self.failing.entry(chunk_id).or_insert(fresh);
        failing.times += 1;
        let hopeless = failing.times >= self.options.max_failures && self.commits > failing.commits_before;
        if hopeless {
            self.failing.remove(&chunk_id);
        }
        hopeless
    }

    async fn nak(&self, delivery: Delivery, reason: &'static str) {
        self.metrics.nak(reason);
        if let Err(error) = delivery.acker.nak(self.options.retry_max).await {
            tracing::warn!(%error, "answer to the bus was lost; the chunk comes again");
            self.metrics.answers_lost.inc();
        }
    }

    /// Moves a chunk that can never be stored to the dead letters. When they cannot be written it stays in the bus.
    async fn bury(&self, delivery: Delivery, reason: &'static str, why: &str) {
        let text = format!("{reason}: {why}");
        if let Err(error) = self.bus.dead_letter(delivery.message.clone(), &text).await {
            tracing::error!(%error, reason = text, "dead letter could not be written; the chunk stays in the bus");
            return self.nak(delivery, "dead_letters").await;
        }
        tracing::error!(reason = text, bytes = delivery.message.len(), "chunk moved to the dead letters");
        self.metrics.dead_letter(reason);
        self.hooks.before_terminate().await;
        if let Err(error) = delivery.acker.terminate(&text).await {
            tracing::warn!(%error, "answer to the bus was lost; the chunk comes again");
            self.metrics.answers_lost.inc();
        }
    }
}

fn kind_name(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Unavailable => "unavailable",
        StoreErrorKind::Full => "full",
        StoreErrorKind::Rejected => "rejected",
        StoreErrorKind::Schema => "schema",
        StoreErrorKind::Locked => "locked",
        StoreErrorKind::Corrupt => "corrupt",
    }
}
