//! What is done beside writing: compaction, retention, and looking at the bus and the store.
//!
//! Guarantee: none of it can stop the writer. A run that fails, panics or gets no answer for very long is counted and logged, and the
//! next one comes as if nothing had been. A stop waits for the run under way, or drops it: every one is one transaction or none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reflow_tracing_bus::{Bus, BusError};
use reflow_tracing_service::{spans, work_span};
use reflow_tracing_store::{Store, StoreError};
use tokio::task::{JoinSet, spawn};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span, field::Empty};

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
            let span = task.span();
            let run = AbortOnDropHandle::new(spawn(self.clone().once(task, stop.clone()).instrument(span.clone())));
            let result = match timeout(self.options.run_timeout, run).await {
                Ok(Ok(Ok(()))) => "ok",
                Ok(Ok(Err(error))) => {
                    tracing::warn!(task = task.name(), %error, "background run failed");
                    "error"
                }
                Err(_) => {
                    let seconds = self.options.run_timeout.as_secs();
                    tracing::warn!(task = task.name(), seconds, "background run was given up, it took too long");
                    "error"
                }
                Ok(Err(error)) => {
                    tracing::error!(task = task.name(), %error, "background run panicked");
                    "panic"
                }
            };
            if result != "ok" {
                self.unmeasured(task);
            }
            self.metrics.task(task.name(), result, began.elapsed());
            spans::ended(&span, result, result != "ok");
        }
    }

    async fn once(self, task: Task, stop: CancellationToken) -> Result<(), TaskError> {
        let now_us = (self.options.clock)();
        match task {
            Task::Compaction => self.compact(&stop).await?,
            Task::Retention => {
                let outcome = self.store.retain(&self.options.retention, now_us).await?;
                self.metrics.retained(&outcome);
                let span = Span::current();
                span.record("reflow.traces", outcome.traces as i64);
                span.record("reflow.chunks", outcome.chunks as i64);
                span.record("reflow.bytes", outcome.bytes as i64);
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
                self.metrics.lag(Some(&self.bus.lag().await?));
            }
            Task::Stats => {
                self.metrics.store(Some(&self.store.stats().await?), now_us);
            }
        }
        Ok(())
    }

    /// What a look at something did not find out, nobody knows: not even by the last look.
    fn unmeasured(&self, task: Task) {
        match task {
            Task::Lag => self.metrics.lag(None),
            Task::Stats => self.metrics.store(None, (self.options.clock)()),
            Task::Compaction | Task::Retention => {}
        }
    }

    /// Step by step until there is nothing more to do, or half of the time is over: the next run goes on.
    async fn compact(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let Some(compaction) = &self.options.compact else { return Ok(()) };
        let (mut traces, mut chunks) = (0, 0);
        let began = Instant::now();
        while !stop.is_cancelled() && began.elapsed() < self.options.run_timeout / 2 {
            let now_us = (self.options.clock)();
            let outcome = self.store.compact(&compaction.policy(now_us), now_us).await?;
            self.metrics.compacted(&outcome);
            traces += outcome.traces;
            chunks += outcome.chunks_removed;
            if outcome.traces > 0 {
                tracing::debug!(traces = outcome.traces, removed = outcome.chunks_removed, "compaction");
            }
            // No progress although there is more: other writers are at it.
            if !outcome.more || outcome.traces == 0 {
                break;
            }
        }
        let span = Span::current();
        span.record("reflow.traces", traces as i64);
        span.record("reflow.chunks", chunks as i64);
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

    /// A span for what changes the store; looking at something is no unit of work.
    fn span(self) -> Span {
        match self {
            Self::Compaction => work_span!("compaction", reflow.traces = Empty, reflow.chunks = Empty),
            Self::Retention => {
                work_span!("retention", reflow.traces = Empty, reflow.chunks = Empty, reflow.bytes = Empty)
            }
            Self::Lag | Self::Stats => Span::none(),
        }
    }
}
