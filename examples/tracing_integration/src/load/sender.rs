//! One connection under load passes messages; one beside them takes the time of acks.
//!
//! A message is three events, as `reflow_network` records it: sent, passed along the connection, handled. The client's buffer is small and
//! waits for room when full, so that the pace is the server's and nothing is dropped. Latency is that of a probe, an event
//! recorded on a connection of its own while the others load the server: there it waits for the server and not for our own buffer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::{TraceEvent, TraceEventType, TraceId};

/// Time between two probes, so that probing is no load of its own.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// An ack that takes longer than this is counted as this.
const LONGEST_US: u64 = 600_000_000;

/// What all connections share.
pub struct Load {
    /// Messages that are still to be passed; with a duration, more than there can be.
    left: AtomicU64,
    /// Messages passed.
    pub passed: AtomicU64,
    /// Set when time is over.
    pub stop: AtomicBool,
    /// Set when the last sender is done.
    pub over: AtomicBool,
    latency: Mutex<Histogram<u64>>,
}

impl Load {
    /// So many messages, or as many as go.
    ///
    /// # Errors
    /// Never: the histogram's bounds are fixed.
    pub fn try_new(messages: Option<u64>) -> Result<Arc<Self>> {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).context("histogram")?;
        Ok(Arc::new(Self {
            left: AtomicU64::new(messages.unwrap_or(u64::MAX)),
            passed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            latency: Mutex::new(latency),
        }))
    }

    /// What was measured of acks, µs.
    pub fn latency(&self) -> Histogram<u64> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self) -> bool {
        let left = |left: u64| left.checked_sub(1);
        !self.stop.load(Ordering::Relaxed) && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn measured(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(us);
    }
}

/// Passes messages between `actors` until there are none left, then waits until everything is acked.
///
/// # Errors
/// When something was not acked within `patience` after the last message.
pub async fn send(
    client: Arc<TracingClient>,
    trace_id: TraceId,
    actors: Vec<String>,
    load: Arc<Load>,
    patience: Duration,
) -> Result<()> {
    for actor in &actors {
        client.record_event(trace_id.clone(), TraceEvent::actor_created(actor.clone())).await?;
    }
    let mut from = 0;
    while load.take() {
        let to = (from + 1) % actors.len();
        for event in message(&actors[from], &actors[to]) {
            client.record_event(trace_id.clone(), event).await?;
        }
        load.passed.fetch_add(1, Ordering::Relaxed);
        from = to;
        // `record_event` returns at once while there is room: give the progress bar and the other connections their turn.
        if to == 0 {
            tokio::task::yield_now().await;
        }
    }
    match client.flush_within(patience).await {
        Err(undelivered) if undelivered.events > 0 => Err(undelivered.into()),
        // What was refused stands in the figures, and fails the program once they are told.
        _ => Ok(()),
    }
}

fn message(from: &str, to: &str) -> [TraceEvent; 3] {
    const KIND: &str = "Object";
    const BYTES: usize = 256;
    [
        TraceEvent::message_sent(from.to_owned(), "out".to_owned(), KIND.to_owned(), BYTES),
        TraceEvent::data_flow(
            from.to_owned(),
            "out".to_owned(),
            to.to_owned(),
            "in".to_owned(),
            KIND.to_owned(),
            BYTES,
        ),
        TraceEvent::actor_completed(to.to_owned()),
    ]
}

/// Measures until the load is over, at least once.
///
/// # Errors
/// When a probe was not acked within `patience`.
pub async fn probe(client: Arc<TracingClient>, trace_id: TraceId, load: Arc<Load>, patience: Duration) -> Result<()> {
    loop {
        let mut event = TraceEvent::actor_completed("probe".to_owned());
        event.event_type = TraceEventType::NetworkEvent;
        let recorded = Instant::now();
        client.record_event(trace_id.clone(), event).await?;
        client.flush_within(patience).await?;
        load.measured(recorded.elapsed());
        if load.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_so_many_messages_are_taken_and_none_after_the_end() {
        let load = Load::try_new(Some(3)).unwrap();
        assert_eq!((0..10).filter(|_| load.take()).count(), 3);
        let endless = Load::try_new(None).unwrap();
        assert!(endless.take());
        endless.stop.store(true, Ordering::Relaxed);
        assert!(!endless.take());
    }
}
