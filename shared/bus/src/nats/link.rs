//! A connection to the server that looks after itself.
//!
//! Guarantee: it connects in the background, for ever, and tells who asks whether it is up and how often it has come up. What
//! it says is read from the client's own state; events only wake those who wait, for the client may drop events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::address::{Addresses, setup};
use super::options::NatsOptions;
use crate::error::BusError;
use crate::stats::{BusStats, add};

/// Messages that one subscription may hold before the client drops some. Everything we subscribe to is bounded in another way
/// (pull requests, credit, a tail's own queue), this is the last resort.
const SUBSCRIPTION_CAPACITY: usize = 4096;
/// How long to wait for an event that the client may have dropped.
const EVENT_GRACE: Duration = Duration::from_millis(250);
const TELL_FAILURE_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    events: watch::Receiver<()>,
    dropped: Arc<AtomicU64>,
}

impl Link {
    /// Starts connecting. Fails only for settings that can never work.
    pub(crate) async fn open(options: &NatsOptions, role: &str, stats: Arc<BusStats>) -> Result<Self, BusError> {
        let (waker, events) = watch::channel(());
        let dropped = Arc::new(AtomicU64::new(0));
        let dropped_in_callback = Arc::clone(&dropped);
        let connected_before = AtomicU64::new(0);
        let failed_at = Mutex::new(None);
        let mut connect = ConnectOptions::new()
            .name(format!("{} {role}", options.client_name))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_delay)
            .connection_timeout(Duration::from_secs(5))
            .request_timeout(Some(options.request_timeout))
            .ping_interval(Duration::from_secs(10))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .event_callback(move |event| {
                match &event {
                    Event::Connected if connected_before.fetch_add(1, Ordering::Relaxed) > 0 => {
                        add(&stats.reconnects, 1)
                    }
                    Event::SlowConsumer(_) => add(&dropped_in_callback, 1),
                    Event::ServerError(error) => tracing::warn!(%error, "nats server reported an error"),
                    Event::ClientError(error) if is_due(&failed_at) => tracing::warn!(%error, "cannot connect to nats"),
                    _ => {}
                }
                waker.send_replace(());
                std::future::ready(())
            });
        if let Some(file) = &options.root_certificates {
            connect = connect.add_root_certificates(file.clone());
        }
        let addresses = Addresses::parse(&options.url)?;
        let client = addresses
            .log_in(connect)
            .connect(addresses.servers)
            .await
            .map_err(|error| setup(error.kind().to_string()))?;
        Ok(Self { client, events, dropped })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// How often the connection has come up so far.
    pub(crate) fn generation(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// How many messages the client has dropped because a subscription was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until something may have changed.
    pub(crate) async fn changed(&mut self) {
        // A dropped event is covered by the timeout. The sender goes only when the client has ended for good.
        if let Ok(Err(_)) = timeout(EVENT_GRACE, self.events.changed()).await {
            sleep(EVENT_GRACE).await;
        }
    }

    pub(crate) async fn until_up(&self) {
        let mut link = self.clone();
        while !link.is_up() {
            link.changed().await;
        }
    }

    /// Waits until the connection has come up again since `generation`. A best effort, for whoever has a timeout besides.
    pub(crate) async fn reconnected_since(&self, generation: u64) {
        let mut events = self.events.clone();
        while self.generation() == generation {
            if events.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether a failure to connect should be told: a server that is away is tried often, and told of now and then.
fn is_due(told: &Mutex<Option<Instant>>) -> bool {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = told.is_none_or(|at| at.elapsed() >= TELL_FAILURE_EVERY);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}

/// At once, then 50 ms doubling up to 2 s: quick after a restart, easy on a server that is away for long.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    Duration::from_millis(50 << (attempts - 2).min(6)).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_get_rarer_but_never_rare() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(2), Duration::from_millis(50));
        assert_eq!(reconnect_delay(1_000_000), Duration::from_secs(2));
    }
}
