//! What is done beside writing: compaction, retention, and looking at the bus and the store.
//!
//! Guarantee: none of it can stop the writer. A run that fails or panics is counted and logged, and the next one comes as if
//! nothing had been. A stop waits for the run under way, or drops it: every one is one transaction or none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, BusError};
use reflow_tracing_store::{Store, StoreError};
use tokio::task::{JoinSet, spawn};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::WriterMetrics;
use crate::options::BackgroundOptions;

/// The tasks beside a writer.
#[derive(Clone)]
pub struct Background {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    options: Arc<BackgroundOptions>,
    metrics: WriterMetrics,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Compaction,
    Retention,
    Lag,
    Stats,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Background {
    /// Tasks that do nothing before [`Background::run`].
    pub fn new(bus: Arc<dyn Bus>, store: Arc<dyn Store>, options: BackgroundOptions, metrics: WriterMetrics) -> Self {
        Self { bus, store, options: Arc::new(options), metrics }
    }

    /// Runs all of them until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let options = &self.options;
        let mut tasks = JoinSet::new();
        for (task, every) in [
            (Task::Compaction, options.upkeep_interval),
            (Task::Retention, options.upkeep_interval),
            (Task::Lag, options.lag_interval),
            (Task::Stats, options.stats_interval),
        ] {
            tasks.spawn(self.clone().repeat(task, every, stop.clone()));
        }
        tasks.join_all().await;
    }

    async fn repeat(self, task: Task, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let began = Instant::now();
            // A task of its own, so that a panic ends only this run; dropped with this loop.
            let run = AbortOnDropHandle::new(spawn(self.clone().once(task, stop.clone())));
            let result = match run.await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    tracing::warn!(task = task.name(), %error, "background run failed");
                    "error"
                }
                Err(error) => {
                    tracing::error!(task = task.name(), %error, "background run panicked");
                    "panic"
                }
            };
            self.metrics.task(task.name(), result, began.elapsed());
        }
    }

    async fn once(self, task: Task, stop: CancellationToken) -> Result<(), TaskError> {
        let now_us = (self.options.clock)();
        match task {
            Task::Compaction => self.compact(&stop).await?,
            Task::Retention => {
                let outcome = self.store.retain(&self.options.retention, now_us).await?;
                self.metrics.retained(&outcome);
                if outcome.chunks > 0 {
                    tracing::info!(
                        chunks = outcome.chunks,
                        traces = outcome.traces,
                        bytes = outcome.bytes,
                        "retention"
                    );
                }
            }
            Task::Lag => {
                let lag = self.bus.lag().await;
                self.metrics.lag(lag.as_ref().ok());
                lag?;
            }
            Task::Stats => {
                let stats = self.store.stats().await;
                self.metrics.store(stats.as_ref().ok(), now_us);
                stats?;
            }
        }
        Ok(())
    }

    /// Step by step until there is nothing more to do.
    async fn compact(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let Some(compaction) = &self.options.compact else { return Ok(()) };
        while !stop.is_cancelled() {
            let now_us = (self.options.clock)();
            let outcome = self.store.compact(&compaction.policy(now_us), now_us).await?;
            self.metrics.compacted(&outcome);
            if outcome.traces > 0 {
                tracing::debug!(traces = outcome.traces, removed = outcome.chunks_removed, "compaction");
            }
            // No progress although there is more: other writers are at it.
            if !outcome.more || outcome.traces == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Retention => "retention",
            Self::Lag => "lag",
            Self::Stats => "stats",
        }
    }
}
