//! From the bus into the store: pull, commit, ack; the next batch is gathered while one is being committed.
//!
//! Guarantee: at most two batches are in hand; while the store is away nothing is pulled. A stop ends after what is in hand was
//! settled. What is in hand when the process dies is delivered again.
//!
//! Why a pull may be cancelled: consumers keep what arrived, so that the next pull hands it out.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_bus::{Bus, BusError, BusErrorKind, Consumer, Delivery, PullLimits};
use reflow_tracing_store::StoreWriter;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::group::progress;
use crate::hooks::Hooks;
use crate::metrics::WriterMetrics;
use crate::options::WriterOptions;
use crate::settle::{Settler, Verdict};

/// Pause after the bus could not be asked, so that an error that comes at once does not spin.
const BUS_PAUSE: Duration = Duration::from_millis(200);

/// A batch is gathered until the commit before it is done; this only bounds a single pull.
const GATHER: Duration = Duration::from_secs(60);

/// Stores what comes over the bus.
pub struct Writer {
    settler: Settler,
}

impl Writer {
    /// A writer; it does nothing before [`Writer::run`].
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn StoreWriter>,
        hooks: Arc<dyn Hooks>,
        options: WriterOptions,
        metrics: WriterMetrics,
    ) -> Self {
        Self { settler: Settler::new(bus, store, hooks, options, metrics) }
    }

    /// Writes until `stop`, or until the bus closes. `ready` is called once there is a consumer.
    ///
    /// # Errors
    ///
    /// When there can be no consumer: the bus is not set up, or the one place is taken.
    pub async fn run(mut self, ready: impl FnOnce() + Send, stop: CancellationToken) -> Result<(), BusError> {
        let Some(mut consumer) = self.open(&stop).await? else { return Ok(()) };
        ready();
        let mut batch = Vec::new();
        loop {
            if batch.is_empty() {
                if stop.is_cancelled() {
                    return Ok(());
                }
                // What arrived during the commit goes at once; only an idle writer waits for more.
                let waiting = self.settler.options.pull_limits(Duration::ZERO);
                let waiting = PullLimits { max_wait: Duration::ZERO, ..waiting };
                let idle = self.settler.options.pull_limits(self.settler.options.linger);
                for limits in [waiting, idle] {
                    let Some(pulled) = self.pull(&mut *consumer, &limits, &stop).await else { return Ok(()) };
                    batch = pulled;
                    if !batch.is_empty() {
                        break;
                    }
                }
                continue;
            }
            let (verdict, mut ahead) = self.settle_and_gather(batch, &mut *consumer, &stop).await;
            if verdict == Verdict::StoreAway {
                self.settler.step_back(std::mem::take(&mut ahead)).await;
                tokio::select! {
                    () = sleep(self.settler.pause()) => {}
                    () = stop.cancelled() => {}
                }
            }
            batch = ahead;
        }
    }

    /// A consumer, as soon as the bus has one; none when the writer is told to stop first.
    async fn open(&self, stop: &CancellationToken) -> Result<Option<Box<dyn Consumer>>, BusError> {
        loop {
            match self.settler.bus.consumer().await {
                Ok(consumer) => return Ok(Some(consumer)),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "bus has no consumer yet");
                    self.settler.metrics.pull_errors.inc();
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = sleep(BUS_PAUSE) => {}
                () = stop.cancelled() => return Ok(None),
            }
        }
    }

    /// The next batch when none is being committed; none when the bus is closed, empty when nothing came.
    async fn pull(
        &self,
        consumer: &mut dyn Consumer,
        limits: &PullLimits,
        stop: &CancellationToken,
    ) -> Option<Vec<Delivery>> {
        let pulled = tokio::select! {
            biased; // who was told to stop takes no more, however much there is
            () = stop.cancelled() => return Some(Vec::new()),
            pulled = consumer.pull(limits) => pulled,
        };
        match pulled {
            Ok(batch) => Some(batch),
            Err(error) => self.pull_failed(&error).await.then(Vec::new),
        }
    }

    /// Settles a batch and gathers the next one meanwhile.
    async fn settle_and_gather(
        &mut self,
        batch: Vec<Delivery>,
        consumer: &mut dyn Consumer,
        stop: &CancellationToken,
    ) -> (Verdict, Vec<Delivery>) {
        let limits = self.settler.options.pull_limits(GATHER);
        let every = self.settler.options.progress_interval.max(Duration::from_millis(1));
        let settle = self.settler.settle(batch);
        tokio::pin!(settle);
        let gathered = tokio::select! {
            biased; // as in `pull`
            verdict = &mut settle => return (verdict, Vec::new()),
            () = stop.cancelled() => Ok(Vec::new()),
            gathered = consumer.pull(&limits) => gathered,
        };
        // The next batch is full, or the bus is away: it waits for the commit, and must not be delivered to another writer.
        let ahead = gathered.unwrap_or_else(|error| {
            tracing::debug!(%error, "nothing gathered");
            Vec::new()
        });
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            tokio::select! {
                verdict = &mut settle => return (verdict, ahead),
                _ = ticks.tick() => progress(&ahead).await,
            }
        }
    }

    /// Whether to pull again.
    async fn pull_failed(&self, error: &BusError) -> bool {
        if error.kind == BusErrorKind::Closed {
            tracing::info!("bus is closed, no more chunks");
            return false;
        }
        self.settler.metrics.pull_errors.inc();
        tracing::warn!(%error, "bus cannot be asked for chunks");
        sleep(BUS_PAUSE).await;
        true
    }
}
