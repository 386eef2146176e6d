//! What becomes of deliveries: committed and acked, given back for later, or moved to the dead letters.
//!
//! Guarantee: a delivery is acked only after its chunk is committed, and terminated only after it is in the dead letters.
//! Whatever goes wrong in between means one more delivery, which changes nothing in the store.
//!
//! A commit that gets no answer mostly means that the store is away, and then nothing is the chunks' fault. But one chunk may keep
//! the store from answering (rows that somebody has locked, a trigger that waits), and with it, for ever, whatever is committed
//! beside it. So chunks that came several times and still got no answer are suspected, if a single row gets one: they are committed
//! one by one, and apart from others from then on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, Delivery};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::spans;
use reflow_tracing_store::{StoreError, StoreErrorKind, StoreWriter};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tracing::Instrument;

use crate::failing::Failing;
use crate::group::{Group, answer_all};
use crate::hooks::Hooks;
use crate::metrics::WriterMetrics;
use crate::options::WriterOptions;

/// A chunk that comes so often without an answer of the store is suspected of being the reason. A restart of the store takes less.
const SUSPECT_FROM_ATTEMPT: u64 = 3;

/// A store that does not take one row within this is away, or too busy to tell anything of a chunk.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A chunk that kept the store busy rests for so many times as long: others have most of the writer's time.
const REST: u32 = 4;

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
    /// Chunks that failed for reasons of their own.
    failing: Failing,
    /// Failures of the store in a row.
    away: u32,
}

/// Why a transaction failed, as far as it decides what comes next.
enum Failure {
    /// Nothing can be stored now.
    Away,
    /// No answer, or one that may be another the next time: mostly the store is away.
    Unanswered(String),
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
        let failing = Failing::new(options.max_failures);
        Self { bus, store, hooks, options, metrics, failing, away: 0 }
    }

    /// The pause that the store needs now.
    pub fn pause(&self) -> Duration {
        self.options.retry_pause(self.away)
    }

    /// Settles all deliveries, unless the store is away.
    pub async fn settle(&mut self, deliveries: Vec<Delivery>) -> Verdict {
        let redelivered = deliveries.iter().filter(|delivery| delivery.attempt > 1).count();
        self.metrics.redeliveries.inc_by(redelivered as u64);
        let (mut group, mut apart) = (Group::default(), Group::default());
        for delivery in deliveries {
            match Chunk::decode(delivery.message.clone()) {
                Ok(chunk) if self.failing.knows(&chunk) => apart.push(chunk, delivery),
                Ok(chunk) => group.push(chunk, delivery),
                Err(error) => self.bury(delivery, "undecodable", &error.to_string()).await,
            }
        }
        if group.len() + apart.len() == 0 {
            return Verdict::Settled;
        }
        self.hooks.before_commit().await;
        let mut singles: VecDeque<Group> = apart.split().collect();
        if group.len() > 0 {
            match self.commit(&group, singles.make_contiguous()).await {
                Ok(()) => self.ack(group).await,
                Err(Failure::Rejected(reason) | Failure::Doubtful(reason)) => {
                    tracing::warn!(chunks = group.len(), reason, "group failed, trying its chunks one by one");
                    group.split().rev().for_each(|single| singles.push_front(single));
                }
                Err(Failure::Unanswered(reason)) if self.suspects(&group).await => {
                    tracing::warn!(
                        chunks = group.len(),
                        reason,
                        "store answers, but not to this group: trying its chunks one by one"
                    );
                    group.split().rev().for_each(|single| singles.push_front(single));
                }
                Err(Failure::Away | Failure::Unanswered(_)) => {
                    singles.push_front(group);
                    return self.step_back(singles.into_iter().flat_map(Group::into_deliveries).collect()).await;
                }
            }
        }
        self.one_by_one(singles).await
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

    async fn one_by_one(&mut self, mut singles: VecDeque<Group>) -> Verdict {
        while let Some(single) = singles.pop_front() {
            let began = Instant::now();
            let outcome = self.commit(&single, singles.make_contiguous()).await;
            match outcome {
                Ok(()) => self.ack(single).await,
                Err(Failure::Rejected(reason)) => {
                    for delivery in single.into_deliveries() {
                        self.bury(delivery, "rejected", &reason).await;
                    }
                }
                Err(Failure::Doubtful(reason)) => {
                    self.failed_alone(single, &reason, self.options.retry_max).await;
                }
                Err(Failure::Unanswered(reason)) if self.suspects(&single).await => {
                    let rest = self.options.retry_max.max(began.elapsed() * REST);
                    self.failed_alone(single, &reason, rest).await;
                }
                Err(Failure::Away | Failure::Unanswered(_)) => {
                    singles.push_front(single);
                    return self.step_back(singles.into_iter().flat_map(Group::into_deliveries).collect()).await;
                }
            }
        }
        Verdict::Settled
    }

    async fn failed_alone(&mut self, single: Group, reason: &str, rest: Duration) {
        let hopeless = single.chunks().iter().any(|chunk| self.failing.again(chunk));
        // Ever rarer: it may come for as long as a table is not mended.
        if !hopeless && single.attempts().is_power_of_two() {
            tracing::warn!(attempts = single.attempts(), reason, "chunk fails alone, it is given back for later");
        }
        for delivery in single.into_deliveries() {
            match hopeless {
                true => self.bury(delivery, "failing", reason).await,
                false => self.nak(delivery, "failing", rest).await,
            }
        }
    }

    /// Whether one of these chunks is why the store gave no answer: it came often enough, and the store takes a row.
    async fn suspects(&mut self, group: &Group) -> bool {
        if group.attempts() < SUSPECT_FROM_ATTEMPT {
            return false;
        }
        let probe = timeout(PROBE_TIMEOUT, self.store.probe((self.options.clock)()));
        let answers = matches!(probe.await, Ok(Ok(())));
        if answers {
            self.away = 0;
            self.metrics.store_away.set(0);
        } else {
            self.failing.store_is_away();
        }
        answers
    }

    /// Commits a group. Those that wait for their turn are kept from being delivered again meanwhile.
    async fn commit(&mut self, group: &Group, waiting: &[Group]) -> Result<(), Failure> {
        let (began, span) = (Instant::now(), group.commit_span());
        let commit = self.store.commit(group.chunks(), (self.options.clock)()).instrument(span.clone());
        let error = match timeout(self.options.commit_timeout, self.beside_progress(group, waiting, commit)).await {
            Ok(Ok(outcome)) => {
                self.failing.committed(group.chunks(), outcome.duplicates == 0);
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
                self.store_away(&StoreError::new(StoreErrorKind::Unavailable, "commit", reason.clone()));
                return Err(Failure::Unanswered(reason));
            }
        };
        self.metrics.commit_failed(kind_name(error.kind));
        spans::ended(&span, kind_name(error.kind), true);
        Err(match error.kind {
            StoreErrorKind::Rejected => Failure::Rejected(error.to_string()),
            StoreErrorKind::Corrupt => Failure::Doubtful(error.to_string()),
            StoreErrorKind::Unavailable => {
                self.store_away(&error);
                Failure::Unanswered(error.to_string())
            }
            // A full disk, a schema or a lock is mended by an operator while chunks wait in the bus.
            StoreErrorKind::Full | StoreErrorKind::Schema | StoreErrorKind::Locked => {
                self.store_away(&error);
                Failure::Away
            }
        })
    }

    /// Keeps the bus from delivering chunks in hand again while a commit takes long.
    async fn beside_progress<T>(&self, group: &Group, waiting: &[Group], commit: impl Future<Output = T>) -> T {
        let every = self.options.progress_interval.max(Duration::from_millis(1));
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(commit);
        loop {
            tokio::select! {
                done = &mut commit => return done,
                _ = ticks.tick() => {
                    for group in std::iter::once(group).chain(waiting) {
                        group.progress().await;
                    }
                }
            }
        }
    }

    fn store_away(&mut self, error: &StoreError) {
        self.away = self.away.saturating_add(1);
        self.metrics.store_away.set(1);
        // One line when it begins, then ever rarer: an outage must not fill the log as well.
        if self.away.is_power_of_two() {
            tracing::warn!(%error, times = self.away, "store takes nothing now; chunks wait in the bus");
        }
    }

    async fn ack(&mut self, group: Group) {
        self.hooks.before_ack().await;
        let lost = answer_all(group.into_deliveries(), |delivery| delivery.acker.ack()).await;
        self.metrics.answers_lost.inc_by(lost);
    }

    async fn nak(&self, delivery: Delivery, reason: &'static str, pause: Duration) {
        self.metrics.nak(reason);
        if let Err(error) = delivery.acker.nak(pause).await {
            tracing::warn!(%error, "answer to the bus was lost; the chunk comes again");
            self.metrics.answers_lost.inc();
        }
    }

    /// Moves a chunk that can never be stored to the dead letters. When they cannot be written it stays in the bus.
    async fn bury(&self, delivery: Delivery, reason: &'static str, why: &str) {
        let text = format!("{reason}: {why}");
        if let Err(error) = self.bus.dead_letter(delivery.message.clone(), &text).await {
            tracing::error!(%error, reason = text, "dead letter could not be written; the chunk stays in the bus");
            return self.nak(delivery, "dead_letters", self.options.retry_max).await;
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
