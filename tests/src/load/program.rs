//! One program under load: where it connects, what it sends next, and what it makes of each answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Options, Phase, lock};
use crate::{client::Client, events, frames::Batch, ledger::Ledger};

/// Whoever does not answer for so long is given up, and the batches go elsewhere.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Whoever does not take a connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Program {
    pub(super) urls: Vec<String>,
    pub(super) options: Options,
    pub(super) random: StdRng,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) phase: watch::Receiver<Phase>,
    /// In the order of their making.
    pub(super) unacked: Vec<Batch>,
    /// The last batch that was made, and the how manieth of its trace it is.
    pub(super) latest: Option<(Batch, usize)>,
}

impl Program {
    /// Sends until load stops and everything that was sent is acknowledged.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut pace = interval(self.options.pace.max(Duration::from_micros(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.has_work().await {
            // Also the pause between two attempts to connect.
            pace.tick().await;
            let Some(url) = self.urls.choose(&mut self.random).cloned() else { bail!("there is nobody to send to") };
            let Ok(Ok(mut client)) = timeout(CONNECT_TIMEOUT, Client::connect_v2(&url)).await else { continue };
            for batch in self.unacked.clone() {
                if self.send(&mut client, &batch).await.is_err() {
                    break;
                }
            }
            while self.has_work().await {
                if self.unacked.len() < self.options.window && self.flows() {
                    pace.tick().await;
                    let Some(batch) = self.enter_next() else { continue };
                    if self.send(&mut client, &batch).await.is_err() {
                        break;
                    }
                    continue;
                }
                match client.recv_json_within(ANSWER_TIMEOUT).await {
                    Ok(Some(answer)) => {
                        if !self.answered(&answer, &mut client).await? {
                            break;
                        }
                    }
                    // Silent, or gone: somebody else may answer.
                    Ok(None) | Err(_) => break,
                }
            }
        }
        Ok(())
    }

    fn flows(&self) -> bool {
        *self.phase.borrow() == Phase::Flow
    }

    /// Waits while there is nothing to send and nothing to wait for; false once there never will be.
    async fn has_work(&mut self) -> bool {
        if !self.unacked.is_empty() {
            return true;
        }
        // The sender lives as long as the load; without it there is nothing more to do.
        self.phase.wait_for(|phase| *phase != Phase::Rest).await.is_ok_and(|phase| *phase == Phase::Flow)
    }

    /// Enters a new batch into the ledger, unless load rests.
    fn enter_next(&mut self) -> Option<Batch> {
        let ledger = Arc::clone(&self.ledger);
        let mut ledger = lock(&ledger);
        if !self.flows() {
            return None;
        }
        let batch = self.next_batch();
        ledger.sent(&batch);
        self.unacked.push(batch.clone());
        Some(batch)
    }

    /// Whether this collector is of further use.
    async fn answered(&mut self, answer: &Value, client: &mut Client) -> Result<bool> {
        let Some(recorded) = answer.get("BatchRecorded") else {
            // Only an outage is a reason to try again; a refusal is a fault of ours or of theirs.
            ensure!(answer["Error"]["retryable"] == true, "a batch was refused: {answer:.500}");
            return Ok(false);
        };
        let place = self.unacked.iter().position(|batch| recorded["batch_id"] == batch.batch_id.to_string());
        // None for a batch that was sent twice on purpose.
        let Some(place) = place else { return Ok(true) };
        let batch = self.unacked.remove(place);
        ensure!(recorded["accepted"] == batch.events.len(), "events were rejected: {answer:.500}");
        lock(&self.ledger).acked(batch.batch_id);
        let again = self.options.repeat_one_in;
        if again > 0 && self.random.random_ratio(1, again) {
            return Ok(self.send(client, &batch).await.is_ok());
        }
        Ok(true)
    }

    fn next_batch(&mut self) -> Batch {
        let events = events::program(self.options.batch_events);
        let (batch, number) = match &self.latest {
            Some((latest, number)) if *number < self.options.trace_batches => (latest.next(events), number + 1),
            _ => (Batch::new(&self.options.flow_id, events), 1),
        };
        self.latest = Some((batch.clone(), number));
        batch
    }

    /// Half of the batches as text, half as binary frames.
    async fn send(&mut self, client: &mut Client, batch: &Batch) -> Result<()> {
        let sending = async {
            match self.random.next_u32() % 2 {
                0 => client.send_json(&batch.request()).await,
                _ => client.send_binary(batch.frame()).await,
            }
        };
        timeout(ANSWER_TIMEOUT, sending).await.context("the collector does not read")?
    }
}
