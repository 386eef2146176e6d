//! Programs that do what a good client does, at once and without mercy: they send batches, keep what is not acknowledged,
//! and after any failure send it again, under the same id, to whichever collector answers.
//!
//! Some batches are sent once more although they were acknowledged, as a client does whose acknowledgement was lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    events,
    eventually::{eventually, patience},
    frames::Batch,
    ledger::Ledger,
};

/// Whoever does not answer for so long is given up, and the batches go elsewhere.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Whoever does not take a connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How much load.
#[derive(Debug, Clone)]
pub struct Options {
    /// Programs at once.
    pub programs: usize,
    /// Events a batch.
    pub batch_events: usize,
    /// Batches a trace.
    pub trace_batches: usize,
    /// Batches that a program sends before it waits for an acknowledgement.
    pub window: usize,
    /// Pause between two batches of a program.
    pub pace: Duration,
    /// One batch in so many is sent again after it was acknowledged; 0 for none.
    pub repeat_one_in: u32,
    /// What the programs call themselves.
    pub flow_id: String,
    /// Where all choices come from.
    pub seed: u64,
}

/// Load under way. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
    programs: JoinSet<Result<()>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            programs: 4,
            batch_events: 20,
            trace_batches: 10,
            window: 4,
            pace: Duration::from_millis(20),
            repeat_one_in: 8,
            flow_id: "load".to_owned(),
            seed: 0,
        }
    }
}

impl Load {
    /// Starts the programs.
    #[must_use]
    pub fn start(urls: Vec<String>, options: &Options) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stop = CancellationToken::new();
        let programs = (0..options.programs as u64)
            .map(|number| {
                let program = Program {
                    urls: urls.clone(),
                    options: options.clone(),
                    random: StdRng::seed_from_u64(options.seed ^ (number + 1)),
                    ledger: Arc::clone(&ledger),
                    unacked: Vec::new(),
                    latest: None,
                };
                program.run(stop.clone())
            })
            .collect();
        Self { ledger, stop, programs }
    }

    /// What was sent and acknowledged so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        lock(&self.ledger).clone()
    }

    /// How many batches were acknowledged so far.
    #[must_use]
    pub fn batches_acked(&self) -> usize {
        lock(&self.ledger).batches_acked()
    }

    /// Returns once so many more batches were acknowledged.
    ///
    /// # Errors
    /// When that takes too long: load does not flow.
    pub async fn progress(&self, batches: usize) -> Result<()> {
        let before = self.batches_acked();
        eventually(patience(), || async {
            let more = self.batches_acked() - before;
            ensure!(more >= batches, "{more} more acknowledgements");
            Ok(())
        })
        .await
        .context("load does not flow")
    }

    /// Sends nothing new, and returns once everything that was sent is acknowledged.
    ///
    /// # Errors
    /// When a program was refused something, or something stays unacknowledged.
    pub async fn finish(mut self, within: Duration) -> Result<Ledger> {
        self.stop.cancel();
        let ends = async {
            while let Some(end) = self.programs.join_next().await {
                end.context("a program panicked")??;
            }
            anyhow::Ok(())
        };
        let outcome = timeout(within, ends).await;
        let ledger = self.ledger();
        let left = ledger.batches_sent() - ledger.batches_acked();
        outcome.with_context(|| format!("{left} of {} batches stay unacknowledged", ledger.batches_sent()))??;
        Ok(ledger)
    }
}

struct Program {
    urls: Vec<String>,
    options: Options,
    random: StdRng,
    ledger: Arc<Mutex<Ledger>>,
    /// In the order of their making.
    unacked: Vec<Batch>,
    /// The last batch that was made, and the how manieth of its trace it is.
    latest: Option<(Batch, usize)>,
}

impl Program {
    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut pace = interval(self.options.pace.max(Duration::from_micros(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(stop.is_cancelled() && self.unacked.is_empty()) {
            // Also the pause between two attempts to connect.
            pace.tick().await;
            let Some(url) = self.urls.choose(&mut self.random).cloned() else { bail!("there is nobody to send to") };
            let Ok(Ok(mut client)) = timeout(CONNECT_TIMEOUT, Client::connect_v2(&url)).await else { continue };
            for batch in self.unacked.clone() {
                if self.send(&mut client, &batch).await.is_err() {
                    break;
                }
            }
            while !(stop.is_cancelled() && self.unacked.is_empty()) {
                if self.unacked.len() < self.options.window && !stop.is_cancelled() {
                    pace.tick().await;
                    let batch = self.next_batch();
                    lock(&self.ledger).sent(&batch);
                    self.unacked.push(batch.clone());
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

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
