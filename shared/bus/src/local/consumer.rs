//! The writer's side of the local bus.
//!
//! Guarantee: a delivery that is dropped without an answer is ready again at once; there is no ack wait to run out, because
//! the consumer lives and dies with the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::queue::Entry;
use super::{Shared, closed};
use crate::error::{BusError, BusErrorKind};
use crate::stats::add;
use crate::{Acker, Consumer, Delivery, PullLimits};

pub(super) struct LocalConsumer {
    shared: Arc<Shared>,
}

impl LocalConsumer {
    pub(super) fn try_new(shared: Arc<Shared>) -> Result<Self, BusError> {
        if shared.closed.is_cancelled() {
            return Err(closed("consume"));
        }
        if !shared.queue.take_consumer_place() {
            return Err(BusError::new(BusErrorKind::Setup, "consume", "the local bus has its one consumer already"));
        }
        Ok(Self { shared })
    }

    /// Waits until something may be ready; false when `until` came first.
    async fn wait(&self, until: Instant, due: Option<Instant>) -> Result<bool, BusError> {
        let wake = due.map_or(until, |due| due.min(until));
        tokio::select! {
            () = self.shared.closed.cancelled() => Err(closed("pull")),
            () = self.shared.queue.arrived.notified() => Ok(true),
            () = tokio::time::sleep_until(wake) => Ok(wake < until),
        }
    }

    fn deliver(&self, mut entry: Entry) -> Delivery {
        let stats = &self.shared.stats;
        entry.attempts += 1;
        add(&stats.delivered, 1);
        add(&stats.delivered_bytes, entry.message.len() as u64);
        add(&stats.redelivered, u64::from(entry.attempts > 1));
        let (message, attempt, traceparent) = (entry.message.clone(), entry.attempts, entry.traceparent.clone());
        let acker = LocalAcker { shared: Arc::clone(&self.shared), entry: Some(entry) };
        Delivery { message, attempt, traceparent, acker: Box::new(acker) }
    }
}

impl Drop for LocalConsumer {
    fn drop(&mut self) {
        self.shared.queue.leave_consumer_place();
    }
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn pull(&mut self, limits: &PullLimits) -> Result<Vec<Delivery>, BusError> {
        let mut held = Held { shared: &self.shared, entries: Vec::new() };
        let mut until = Instant::now() + limits.max_wait;
        let mut first = true;
        loop {
            if self.shared.closed.is_cancelled() {
                return Err(closed("pull"));
            }
            let (full, due) = self.shared.queue.take(limits, &mut held.entries);
            if first && !held.entries.is_empty() {
                first = false;
                until = Instant::now() + limits.linger;
            }
            if full || !self.wait(until, due).await? {
                break;
            }
        }
        Ok(std::mem::take(&mut held.entries).into_iter().map(|entry| self.deliver(entry)).collect())
    }
}

/// What a pull has taken so far: given back if the pull is dropped or fails.
struct Held<'a> {
    shared: &'a Shared,
    entries: Vec<Entry>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for entry in self.entries.drain(..).rev() {
            self.shared.queue.give_back(entry, Duration::ZERO);
        }
    }
}

struct LocalAcker {
    shared: Arc<Shared>,
    /// Taken by the answer; what is still here on drop goes back to the queue.
    entry: Option<Entry>,
}

impl Drop for LocalAcker {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.queue.give_back(entry, Duration::ZERO);
        }
    }
}

#[async_trait]
impl Acker for LocalAcker {
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        self.shared.tails.show(&entry.chunk, entry.message.len());
        self.shared.queue.settle(entry, Ok(()));
        add(&self.shared.stats.acked, 1);
        Ok(())
    }

    async fn nak(mut self: Box<Self>, delay: Duration) -> Result<(), BusError> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        self.shared.queue.give_back(entry, delay);
        add(&self.shared.stats.naked, 1);
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn terminate(mut self: Box<Self>, reason: &str) -> Result<(), BusError> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        self.shared.queue.settle(entry, Err(BusError::new(BusErrorKind::Refused, "publish", reason)));
        add(&self.shared.stats.terminated, 1);
        Ok(())
    }
}
