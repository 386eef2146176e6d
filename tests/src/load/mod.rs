//! Programs that do what a good client does, at once and without mercy: they send batches, keep what is not acknowledged,
//! and after any failure send it again, under the same id, to whichever collector answers.
//!
//! Some batches are sent once more although they were acknowledged, as a client does whose acknowledgement was lost.
//!
//! Load can rest: then nothing is on its way, and every count of the store can be held against the ledger.

mod program;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::program::Program;
use crate::{
    eventually::{eventually, patience},
    ledger::Ledger,
};

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
    phase: watch::Sender<Phase>,
    programs: JoinSet<Result<()>>,
}

/// What programs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Send.
    Flow,
    /// Send nothing new, and see what was sent through.
    Rest,
    /// The same, and end then.
    Stop,
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
        let phase = watch::Sender::new(Phase::Flow);
        let programs = (0..options.programs as u64)
            .map(|number| {
                let program = Program {
                    urls: urls.clone(),
                    options: options.clone(),
                    random: StdRng::seed_from_u64(options.seed ^ (number + 1)),
                    ledger: Arc::clone(&ledger),
                    phase: phase.subscribe(),
                    unacked: Vec::new(),
                    latest: None,
                };
                program.run()
            })
            .collect();
        Self { ledger, phase, programs }
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

    /// Sends nothing new until [`resume`](Self::resume), and returns once everything that was sent is acknowledged.
    ///
    /// # Errors
    /// When something stays unacknowledged.
    pub async fn rest(&self, within: Duration) -> Result<Ledger> {
        self.set(Phase::Rest);
        eventually(within, || async {
            let ledger = lock(&self.ledger);
            let left = ledger.batches_sent() - ledger.batches_acked();
            ensure!(left == 0, "{left} of {} batches stay unacknowledged", ledger.batches_sent());
            Ok(ledger.clone())
        })
        .await
    }

    /// Sends again.
    pub fn resume(&self) {
        self.set(Phase::Flow);
    }

    /// Under the ledger's lock, as programs look: none enters another batch after that.
    fn set(&self, phase: Phase) {
        let _ledger = lock(&self.ledger);
        self.phase.send_replace(phase);
    }

    /// Sends nothing new, and returns once everything that was sent is acknowledged.
    ///
    /// # Errors
    /// When a program was refused something, or something stays unacknowledged.
    pub async fn finish(mut self, within: Duration) -> Result<Ledger> {
        self.set(Phase::Stop);
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

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
