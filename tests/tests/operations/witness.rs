//! A client that notices everything: how each of its connections ended, and how long it had to wait.
//!
//! It is patient, as our client is: it sends a batch, waits for its answer however long that takes, and after the end of a
//! connection makes a new one and sends the same batch again. A refusal, or an error that is not worth another try, is a
//! fault; connections that end without a goodbye are counted, since only a load balancer may end them so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{Client, Ending, Ledger, events, eventually, frames, frames::Batch, patience};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two requests, so that the witness is no load itself.
const PACE: Duration = Duration::from_millis(10);

/// What a witness saw.
#[derive(Debug, Default)]
pub struct Testimony {
    /// What was sent, all of it acknowledged; of a sender.
    pub ledger: Ledger,
    /// How often a connection ended.
    pub reconnects: usize,
    /// Errors that said that another try is worth it.
    pub retries: usize,
    /// The longest wait for an answer, reconnects included.
    pub longest: Duration,
    /// Requests answered, or events seen.
    pub answered: usize,
}

/// What a witness does.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Sends batches.
    Sender,
    /// Asks for traces.
    Asker,
    /// Watches live.
    Viewer,
}

/// A witness at work.
pub struct Witness {
    stop: CancellationToken,
    cut_off: Arc<AtomicUsize>,
    task: JoinHandle<Result<Testimony>>,
}

impl Witness {
    pub fn start(kind: Kind, url: String) -> Self {
        let stop = CancellationToken::new();
        let cut_off = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (stop.clone(), Arc::clone(&cut_off));
        let task = tokio::spawn(async move {
            match kind {
                Kind::Sender => ask(url, stopped, &counted, true).await.context("a program"),
                Kind::Asker => ask(url, stopped, &counted, false).await.context("somebody who asks"),
                Kind::Viewer => watch(url, stopped, &counted).await.context("a viewer"),
            }
        });
        Self { stop, cut_off, task }
    }

    /// How many of its connections have ended without a goodbye so far.
    pub fn cut_off(&self) -> usize {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Whether it still goes on: a fault ends it.
    pub fn is_content(&self) -> bool {
        !self.task.is_finished()
    }

    /// Stops it and hears it.
    pub async fn hear(self) -> Result<Testimony> {
        self.stop.cancel();
        tokio::time::timeout(patience(), self.task).await.context("it does not come to an end")??
    }
}

async fn connect(url: &str) -> Result<Client> {
    // While one service drains and the other has not started there may be nobody for a moment.
    eventually(patience(), || Client::connect_v2(url)).await
}

fn ended(ending: &Ending, cut_off: &AtomicUsize) {
    if !matches!(ending, Ending::Closed(Some(_))) {
        println!("a connection ended without a goodbye: {ending:?}");
        cut_off.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(url: String, stop: CancellationToken, cut_off: &AtomicUsize, sends: bool) -> Result<Testimony> {
    let mut seen = Testimony::default();
    let mut client = connect(&url).await?;
    while !stop.is_cancelled() {
        tokio::time::sleep(PACE).await;
        let batch = Batch::new("witness", events::program(3));
        let request = if sends { batch.request() } else { frames::query_traces(&frames::Query::all().limit(1)) };
        let began = Instant::now();
        loop {
            if client.send_json(&request).await.is_ok() {
                match client.answer_or_ending().await? {
                    Ok(answer) if done(&answer, sends)? => break,
                    Ok(_) => {
                        seen.retries += 1;
                        tokio::time::sleep(PACE).await;
                        continue;
                    }
                    Err(ending) => ended(&ending, cut_off),
                }
            }
            seen.reconnects += 1;
            client = connect(&url).await?;
        }
        seen.longest = seen.longest.max(began.elapsed());
        seen.answered += 1;
        if sends {
            seen.ledger.sent(&batch);
            seen.ledger.acked(batch.batch_id);
        }
    }
    Ok(seen)
}

/// Whether it is the answer, or an error after which one asks again.
fn done(answer: &Value, sends: bool) -> Result<bool> {
    if answer["Error"]["retryable"] == true {
        return Ok(false);
    }
    let name = if sends { "BatchRecorded" } else { "QueryResults" };
    let Some(body) = answer.get(name) else { bail!("not {name}: {answer:.500}") };
    ensure!(!sends || body["accepted"] == 3, "events were rejected: {answer:.500}");
    Ok(true)
}

async fn watch(url: String, stop: CancellationToken, cut_off: &AtomicUsize) -> Result<Testimony> {
    let mut seen = Testimony::default();
    while !stop.is_cancelled() {
        let mut client = connect(&url).await?;
        client.send_json(&frames::subscribe(&json!({}))).await?;
        loop {
            let began = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return Ok(seen),
                next = client.answer_or_ending() => match next? {
                    Ok(_) => seen.answered += 1,
                    Err(ending) => {
                        ended(&ending, cut_off);
                        break;
                    }
                }
            }
            seen.longest = seen.longest.max(began.elapsed());
        }
        seen.reconnects += 1;
    }
    Ok(seen)
}
