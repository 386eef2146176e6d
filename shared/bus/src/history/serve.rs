//! The query service's side of history over NATS: takes questions, bounded.
//!
//! Guarantee: at most `max_running` handlers run and at most `max_waiting` questions wait; one more gets a retryable error at
//! once, so that another service or a later try can have it. Answers that somebody may read for hours ([`Patience::EachPiece`])
//! are bounded by themselves, by `max_streams`, and run only while they are read. After the stop token, no more questions are
//! taken and those that are being answered are finished, but for streams: their askers get a retryable error.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::reply::{Asker, Serving, reply_to};
use super::wire::{ASK, GROUP, Reply, patience};
use super::{HistoryHandler, Patience};
use crate::NatsBus;
use crate::error::BusErrorKind;
use crate::nats::link::Link;

/// Stopping does not wait longer for a server that is away.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds of a history service.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Questions answered at a time (8: what a store's connection pool carries).
    pub max_running: usize,
    /// Questions that may wait for their turn (64).
    pub max_waiting: usize,
    /// Answers open at a time that their askers read piece by piece, beside the others (16: each holds a stretch of some MiB).
    pub max_streams: usize,
    /// No answer takes longer, and no piece of a stream, whatever the asker says (10 min).
    pub max_deadline: Duration,
    /// Sign of life while there is nothing else to say (1 s; askers give up after several).
    pub alive_every: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_running: 8,
            max_waiting: 64,
            max_streams: 16,
            max_deadline: Duration::from_secs(600),
            alive_every: Duration::from_secs(1),
        }
    }
}

/// Answers questions until `stop`, then finishes those under way. Returns when the last is finished; dropped earlier, it cuts
/// them off, and their askers get a retryable error.
pub async fn serve_history(
    bus: &NatsBus,
    handler: Arc<dyn HistoryHandler>,
    options: ServeOptions,
    stop: CancellationToken,
) {
    let link = bus.inner.link.clone();
    let max_running = options.max_running.max(1);
    let serving = Arc::new(Serving {
        handler,
        running: Semaphore::new(max_running),
        alive_every: options.alive_every,
        stop: stop.clone(),
    });
    let questions_open = Arc::new(Semaphore::new(max_running + options.max_waiting));
    let streams_open = Arc::new(Semaphore::new(options.max_streams));
    let mut answers = JoinSet::new();
    let Some(mut questions) = subscribe(&link, &stop).await else { return };
    loop {
        let question = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = answers.join_next() => {
                if let Err(error) = ended {
                    // The asker notices that the answer's inbox is gone.
                    tracing::error!(%error, "history handler failed");
                }
                continue;
            }
            question = questions.next() => question,
        };
        let Some(question) = question else { break };
        let Some(asker) = Asker::of(&link.client, &question) else { continue };
        let (patience, open) = match patience(&question) {
            Patience::Whole(time) => (Patience::Whole(time.min(options.max_deadline)), &questions_open),
            Patience::EachPiece(time) => (Patience::EachPiece(time.min(options.max_deadline)), &streams_open),
        };
        let Ok(place) = Arc::clone(open).try_acquire_owned() else {
            let busy = Reply::Error(BusErrorKind::Unavailable, "the query service is busy, try again".to_owned());
            // An asker that cannot be told gives up by itself.
            let _ = asker.say(busy).await;
            continue;
        };
        let serving = Arc::clone(&serving);
        answers.spawn(async move {
            if let Err(error) = reply_to(asker, question.payload, patience, &serving).await {
                tracing::debug!(%error, "history answer was not finished");
            }
            drop(place);
        });
    }
    let _ = timeout(DRAIN_TIMEOUT, turn_away(&link, questions)).await;
    while answers.join_next().await.is_some() {}
    let _ = link.client.flush().await;
}

/// Questions that the server gave to this service before it heard of the stop would wait for nothing.
async fn turn_away(link: &Link, mut questions: Subscriber) {
    let _ = questions.drain().await;
    while let Some(question) = questions.next().await {
        if let Some(asker) = Asker::of(&link.client, &question) {
            let stopping = Reply::Error(BusErrorKind::Unavailable, "the query service is stopping".to_owned());
            let _ = asker.say(stopping).await;
        }
    }
}

async fn subscribe(link: &Link, stop: &CancellationToken) -> Option<Subscriber> {
    loop {
        match link.client.queue_subscribe(ASK, GROUP.to_owned()).await {
            Ok(questions) => return Some(questions),
            Err(error) => tracing::warn!(%error, "cannot take history questions, trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
}
