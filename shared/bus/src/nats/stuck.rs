//! Notices a durable consumer that the server no longer serves as it should, and makes it anew.
//!
//! nats-server 2.9 writes what a consumer waits for a moment after it has removed what was acknowledged. Killed in between, it starts
//! with a consumer that waits for acks of messages that are gone (phantoms). After each ack wait it tries to deliver them again,
//! one at every wake-up, fails ("error looking up message for consumer: deleted message" in its log), and what is behind them
//! waits: for seconds in every ack wait, or for ever when there are more phantoms than wake-ups. It was also seen to fall silent
//! altogether. Newer servers forget phantoms by themselves.
//!
//! The other way round, messages that it takes for acknowledged though the stream still has them (orphans) would stay for ever:
//! a server that lost its last writes, or took its stream from a copy, may come to that.
//!
//! In a work queue every message that is left is one that nobody has acknowledged, so that a new consumer delivers exactly what is
//! missing; what was committed meanwhile is known to the store.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::api::request;
use super::connection::Inner;
use super::declare::declare;
use super::subjects::{CHUNKS, WRITERS};
use crate::stats::add;

/// A pull that got nothing for so long asks why.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A consumer that delivered to nobody for so long, with messages pending and requests waiting, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(6);
/// However much is delivered, so often somebody looks for orphans.
const SURVEY_EVERY: Duration = Duration::from_secs(30);
/// Phantoms stay; what is only on its way between two counters of the server is gone when looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What one pulling writer has seen of the consumer since its last message.
#[derive(Debug)]
pub(super) struct Watch {
    looked_at: Instant,
    /// The connection after whose coming up there was a look: a server that was away may have been killed.
    generation: u64,
    /// Deliveries the consumer had counted, and since when it has not counted more.
    still: Option<(u64, Instant)>,
    surveyed_at: Instant,
    /// The stream's oldest message, which the consumer takes for acknowledged, and since when that is so.
    orphan: Option<(u64, Instant)>,
}

/// The consumer's own word.
struct Counts {
    delivered: u64,
    /// Everything up to here is acknowledged.
    ack_floor: u64,
    pending: u64,
    unacknowledged: u64,
    /// Requests wait, and it may deliver.
    is_asked: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { looked_at: now, generation: 0, still: None, surveyed_at: now, orphan: None }
    }

    /// A message came: it does not stand still.
    pub(super) fn delivered(&mut self) {
        self.looked_at = Instant::now();
        self.still = None;
    }

    /// Looks at the consumer after each connect and then not too often, and makes it anew when something is wrong with it.
    pub(super) async fn look(&mut self, inner: &Arc<Inner>) {
        let generation = inner.link.generation();
        let is_due = self.looked_at.elapsed() >= LOOK_EVERY || self.surveyed_at.elapsed() >= SURVEY_EVERY;
        if generation == self.generation && !is_due {
            return;
        }
        (self.looked_at, self.surveyed_at) = (Instant::now(), Instant::now());
        // Whatever else is wrong with the bus is for others to notice.
        let (Some(phantoms), Some(counts)) = (phantoms(inner).await, counts(inner).await) else {
            self.still = None;
            return;
        };
        self.generation = generation;
        let orphans = self.has_orphans(inner, &counts).await;
        if phantoms > 0 || orphans || self.is_stuck(&counts) {
            (self.still, self.orphan) = (None, None);
            tracing::warn!(
                pending = counts.pending,
                unacknowledged = counts.unacknowledged,
                phantoms,
                orphans,
                "nats does not deliver to the writers as it should; making their consumer anew"
            );
            if request(&inner.link, &format!("CONSUMER.DELETE.{CHUNKS}.{WRITERS}"), None).await.is_ok() {
                // Not `repair`, which now and then declines: until there is a consumer again, nobody gets anything.
                match declare(&inner.link, &inner.options).await {
                    Ok(()) => add(&inner.stats.repairs, 1),
                    Err(error) => tracing::warn!(%error, "the consumer cannot be declared again yet"),
                }
            }
        }
    }

    /// What was acknowledged leaves the stream at once: an oldest message that stays at or below the ack floor is an orphan.
    async fn has_orphans(&mut self, inner: &Inner, counts: &Counts) -> bool {
        let Ok(stream) = inner.stream_state(CHUNKS, &inner.link).await else { return false };
        let oldest = stream.first_sequence;
        match self.orphan {
            _ if stream.messages == 0 || oldest > counts.ack_floor => self.orphan = None,
            Some((before, since)) if before == oldest => return since.elapsed() >= STUCK_AFTER,
            _ => self.orphan = Some((oldest, Instant::now())),
        }
        false
    }

    fn is_stuck(&mut self, counts: &Counts) -> bool {
        let owes = counts.pending > 0 && counts.is_asked;
        match self.still {
            _ if !owes => self.still = None,
            Some((before, since)) if before == counts.delivered => return since.elapsed() >= STUCK_AFTER,
            _ => self.still = Some((counts.delivered, Instant::now())),
        }
        false
    }
}

async fn counts(inner: &Inner) -> Option<Counts> {
    let info = match request(&inner.link, &format!("CONSUMER.INFO.{CHUNKS}.{WRITERS}"), None).await {
        Ok(info) => info,
        Err(error) => {
            // The server does not answer requests to a consumer that is not there.
            if error.is(ErrorCode::CONSUMER_NOT_FOUND) {
                inner.repair().await;
            }
            return None;
        }
    };
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let unacknowledged = number(&info["num_ack_pending"]);
    let has_room = unacknowledged < number(&info["config"]["max_ack_pending"]).max(1);
    Some(Counts {
        delivered: number(&info["delivered"]["consumer_seq"]),
        ack_floor: number(&info["ack_floor"]["stream_seq"]),
        pending: number(&info["num_pending"]),
        unacknowledged,
        is_asked: number(&info["num_waiting"]) > 0 && has_room,
    })
}

/// How many messages the consumer speaks of that the stream does not have; `None` when nobody knows.
async fn phantoms(inner: &Inner) -> Option<u64> {
    let first = phantoms_at_a_glance(inner).await?;
    if first == 0 {
        return Some(0);
    }
    sleep(LOOK_AGAIN).await;
    Some(phantoms_at_a_glance(inner).await?.min(first))
}

/// The stream is asked before and after: while it grows or shrinks, one of the two answers is no less than what there was when
/// the consumer answered.
async fn phantoms_at_a_glance(inner: &Inner) -> Option<u64> {
    let before = inner.stream_state(CHUNKS, &inner.link).await.ok()?.messages;
    let counts = counts(inner).await?;
    let after = inner.stream_state(CHUNKS, &inner.link).await.ok()?.messages;
    Some((counts.pending + counts.unacknowledged).saturating_sub(before.max(after)))
}
