//! A client that notices everything: how each of its connections ended, and how long it had to wait.
//!
//! It is patient, as our client is: it sends a batch, waits for its answer however long that takes, and after the end of a
//! connection makes a new one and sends the same batch again. A refusal, an error that is not worth another try, or a
//! connection that breaks without a goodbye are faults.

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
    /// How often a connection ended, each with a goodbye.
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
    task: JoinHandle<Result<Testimony>>,
}

impl Witness {
    pub fn start(kind: Kind, url: String) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            match kind {
                Kind::Sender => ask(url, stopped, true).await.context("a program"),
                Kind::Asker => ask(url, stopped, false).await.context("somebody who asks"),
                Kind::Viewer => watch(url, stopped).await.context("a viewer"),
            }
        });
        Self { stop, task }
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

fn goodbye(ending: &Ending) -> Result<()> {
    ensure!(matches!(ending, Ending::Closed(Some(_))), "the connection ended without a goodbye: {ending:?}");
    Ok(())
}

async fn ask(url: String, stop: CancellationToken, sends: bool) -> Result<Testimony> {
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
                    Err(ending) => goodbye(&ending)?,
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

async fn watch(url: String, stop: CancellationToken) -> Result<Testimony> {
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
                        goodbye(&ending)?;
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
