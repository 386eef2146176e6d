//! The writer's side: pull requests to the shared durable consumer.
//!
//! A pull is two requests: one message, however long it takes; then as many as fit, for as long as the caller lingers. So nothing
//! is fetched ahead: a writer that is busy leaves messages to the others, and no ack wait runs while it is.
//!
//! Guarantee: one inbox for the life of the consumer, so that a message that comes late (after the pull that asked for it was
//! over) is handed out by the next pull instead of being lost until its ack wait runs out. Survives a server that goes away: a
//! request that cannot be answered any more is made again.
//!
//! Why not the client library's pull streams: they fix batch sizes at creation, fetch ahead, or throw away what arrives after
//! they end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Message, StatusCode, Subject, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use reflow_tracing_service::spans::TRACEPARENT;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Inner, closed};
use super::stuck::Watch;
use super::subjects::{CHUNKS, WRITERS};
use crate::error::{BusError, BusErrorKind};
use crate::stats::add;
use crate::{Acker, Consumer, Delivery, PullLimits};

/// The server forgets the request for a first message after so long; a lost one is noticed after this and the grace.
const REQUEST_EXPIRES: Duration = Duration::from_secs(5);
const REQUEST_GRACE: Duration = Duration::from_secs(2);
/// The server's word that a request for more has run out may take so much longer than the caller lingers.
const LINGER_GRACE: Duration = Duration::from_millis(100);
const SHORTEST_LINGER: Duration = Duration::from_millis(1);
/// A pull asks for no more than this at once, well under what the client's subscription holds.
const MAX_BATCH: usize = 2048;
/// After a refusal (server not ready, consumer missing) wait so long before asking again.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// An answer that cannot be handed to the connection for so long is given up: the message is delivered again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct NatsConsumer {
    inner: Arc<Inner>,
    inbox: String,
    messages: Subscriber,
    requests: u64,
    open: Option<OpenRequest>,
    /// Arrived, not handed out.
    arrived: VecDeque<Message>,
    /// Why the server last refused a request, during this pull.
    refused: Option<String>,
    watch: Watch,
}

/// A pull request that the server has not finished.
struct OpenRequest {
    id: u64,
    messages: usize,
    generation: u64,
    lost_at: Instant,
}

impl NatsConsumer {
    pub(crate) async fn try_new(inner: Arc<Inner>) -> Result<Self, BusError> {
        if inner.closed.is_cancelled() {
            return Err(closed("consume"));
        }
        let inbox = inner.link.client.new_inbox();
        let messages = inner.link.client.subscribe(format!("{inbox}.*")).await;
        let messages = messages.map_err(|error| unavailable("consume", &error.to_string()))?;
        Ok(Self {
            inner,
            inbox,
            messages,
            requests: 0,
            open: None,
            arrived: VecDeque::new(),
            refused: None,
            watch: Watch::new(),
        })
    }

    /// Whether what has arrived fills the limits.
    fn is_full(&self, limits: &PullLimits) -> bool {
        let mut bytes = 0;
        for (index, message) in self.arrived.iter().enumerate() {
            bytes += message.payload.len();
            if index + 1 >= limits.max_messages || bytes >= limits.max_bytes {
                return true;
            }
        }
        false
    }

    /// Asks for one message, unless that was asked already and may still be answered.
    async fn ask_for_first(&mut self) -> Result<(), BusError> {
        if let Some(open) = &self.open {
            if open.generation == self.inner.link.generation() && Instant::now() < open.lost_at {
                return Ok(());
            }
            add(&self.inner.stats.pull_retries, 1);
        }
        self.watch.look(&self.inner).await;
        self.ask(1, REQUEST_EXPIRES, None).await
    }

    /// Asks for as much as the limits leave room for.
    async fn ask_for_more(&mut self, limits: &PullLimits) -> Result<(), BusError> {
        let held: usize = self.arrived.iter().map(|message| message.payload.len()).sum();
        let messages = limits.max_messages.min(MAX_BATCH).saturating_sub(self.arrived.len()).max(1);
        let max_bytes = limits.max_bytes.saturating_sub(held).max(1);
        self.ask(messages, limits.linger.max(SHORTEST_LINGER), Some(max_bytes)).await
    }

    async fn ask(&mut self, messages: usize, expires: Duration, max_bytes: Option<usize>) -> Result<(), BusError> {
        let mut body = json!({"batch": messages, "expires": expires.as_nanos() as u64});
        if let Some(max_bytes) = max_bytes {
            body["max_bytes"] = max_bytes.into();
        }
        let generation = self.inner.link.generation();
        self.requests += 1;
        let reply = format!("{}.{}", self.inbox, self.requests);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{CHUNKS}.{WRITERS}");
        let sent = self.inner.link.client.publish_with_reply(subject, reply, body.to_string().into());
        timeout(ANSWER_TIMEOUT, sent)
            .await
            .map_err(|_| unavailable("pull", "the connection does not take requests"))?
            .map_err(|error| unavailable("pull", &error.to_string()))?;
        let lost_at = Instant::now() + expires + REQUEST_GRACE;
        self.open = Some(OpenRequest { id: self.requests, messages, generation, lost_at });
        Ok(())
    }

    /// Takes one message off the inbox: a delivery, or word that a request is over.
    async fn accept(&mut self, message: Message) {
        let Some(status) = message.status.filter(|status| *status != StatusCode::OK) else {
            if let Some(open) = &mut self.open {
                open.messages -= 1;
                if open.messages == 0 {
                    self.open = None;
                }
            }
            self.arrived.push_back(message);
            self.watch.delivered();
            return;
        };
        let about_open = self.open.as_ref().is_some_and(|open| message.subject.ends_with(&format!(".{}", open.id)));
        if status == StatusCode::IDLE_HEARTBEAT || !about_open {
            return;
        }
        let Some(open) = self.open.take() else { return };
        let said = message.description.as_deref().unwrap_or_default();
        // It ran out, or the next message does not fit any more: no trouble.
        if matches!(status, StatusCode::TIMEOUT | StatusCode::NOT_FOUND) || said.contains("MaxBytes") {
            return;
        }
        tracing::debug!(%status, said, request = open.id, "pull request was refused");
        add(&self.inner.stats.pull_retries, 1);
        if status == StatusCode::NO_RESPONDERS || said.contains("Deleted") {
            self.inner.repair().await;
        }
        self.refused = Some(format!("the server refuses to deliver: {status} {said}"));
        sleep(REFUSED_PAUSE).await;
    }

    /// Waits for one message of the inbox until `until`; false when the time came first.
    async fn wait(&mut self, until: Instant) -> Result<bool, BusError> {
        let generation = self.inner.link.generation();
        let lost_at = self.open.as_ref().map_or(until, |open| open.lost_at.min(until));
        let message = tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => return Err(closed("pull")),
            message = self.messages.next() => message,
            () = self.inner.link.reconnected_since(generation) => return Ok(true),
            () = tokio::time::sleep_until(lost_at) => return Ok(lost_at < until),
        };
        let Some(message) = message else { return Err(unavailable("pull", "the connection has ended")) };
        self.accept(message).await;
        Ok(true)
    }

    fn take(&mut self, limits: &PullLimits) -> Vec<Delivery> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while let Some(next) = self.arrived.front() {
            bytes += next.payload.len();
            if batch.len() >= limits.max_messages.max(1) || (!batch.is_empty() && bytes > limits.max_bytes) {
                break;
            }
            batch.extend(self.arrived.pop_front().map(|message| self.deliver(message)));
        }
        batch
    }

    fn deliver(&self, message: Message) -> Delivery {
        let stats = &self.inner.stats;
        let reply = message.reply.unwrap_or_else(|| Subject::from_static(""));
        let attempt = attempt_of(&reply);
        add(&stats.delivered, 1);
        add(&stats.delivered_bytes, message.payload.len() as u64);
        add(&stats.redelivered, u64::from(attempt > 1));
        let acker = NatsAcker { inner: Arc::clone(&self.inner), reply };
        let traceparent = message.headers.and_then(|headers| Some(headers.get(TRACEPARENT)?.as_str().to_owned()));
        Delivery { message: message.payload, attempt, traceparent, acker: Box::new(acker) }
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn pull(&mut self, limits: &PullLimits) -> Result<Vec<Delivery>, BusError> {
        if self.inner.closed.is_cancelled() {
            return Err(closed("pull"));
        }
        self.refused = None;
        let until = Instant::now() + limits.max_wait;
        while self.arrived.is_empty() {
            self.ask_for_first().await?;
            if !self.wait(until).await? {
                break;
            }
        }
        if !self.arrived.is_empty() && !self.is_full(limits) {
            self.ask_for_more(limits).await?;
            let until = Instant::now() + limits.linger + LINGER_GRACE;
            while self.open.is_some() && !self.is_full(limits) && self.wait(until).await? {}
            // Should it still be open, what it brings is for the next pull.
            self.open = None;
        }
        let batch = self.take(limits);
        if !batch.is_empty() {
            return Ok(batch);
        }
        if !self.inner.link.is_up() {
            return Err(unavailable("pull", "not connected to nats"));
        }
        match self.refused.take() {
            Some(reason) => Err(unavailable("pull", &reason)),
            None => Ok(batch),
        }
    }
}

impl Drop for NatsConsumer {
    /// Gives back what was fetched and not handed out, so that another writer need not wait for the ack wait.
    fn drop(&mut self) {
        let replies: Vec<_> = self.arrived.drain(..).filter_map(|message| message.reply).collect();
        let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), replies.is_empty()) else { return };
        let client = self.inner.link.client.clone();
        runtime.spawn(async move {
            for reply in replies {
                let _ = client.publish(reply, AckKind::Nak(None).into()).await;
            }
        });
    }
}

/// Plain answers, not double ones: a lost answer means one more delivery, which changes nothing in the store, while waiting for
/// the server's word on each would cost a round trip a chunk.
struct NatsAcker {
    inner: Arc<Inner>,
    reply: Subject,
}

impl NatsAcker {
    async fn answer(&self, answer: AckKind, context: &'static str) -> Result<(), BusError> {
        let answer: Bytes = answer.into();
        let sent = self.inner.link.client.publish(self.reply.clone(), answer);
        match timeout(ANSWER_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unavailable(context, &error.to_string())),
            Err(_) => Err(unavailable(context, "the connection does not take answers")),
        }
    }
}

#[async_trait]
impl Acker for NatsAcker {
    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.answer(AckKind::Ack, "ack").await?;
        add(&self.inner.stats.acked, 1);
        Ok(())
    }

    async fn nak(self: Box<Self>, delay: Duration) -> Result<(), BusError> {
        self.answer(AckKind::Nak((!delay.is_zero()).then_some(delay)), "nak").await?;
        add(&self.inner.stats.naked, 1);
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        self.answer(AckKind::Progress, "progress").await
    }

    async fn terminate(self: Box<Self>, _reason: &str) -> Result<(), BusError> {
        self.answer(AckKind::Term, "terminate").await?;
        add(&self.inner.stats.terminated, 1);
        Ok(())
    }
}

fn unavailable(context: &'static str, reason: &str) -> BusError {
    BusError::new(BusErrorKind::Unavailable, context, reason)
}

/// Which delivery it is: the token behind stream and consumer in `$JS.ACK.<stream>.<consumer>.<delivered>.…`, or, from newer
/// servers, in `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.…` (ADR-15).
fn attempt_of(reply: &str) -> u64 {
    let index = if reply.split('.').count() >= 11 { 6 } else { 4 };
    reply.split('.').nth(index).and_then(|token| token.parse().ok()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::attempt_of;

    #[test]
    fn attempts_are_read_from_both_forms() {
        assert_eq!(attempt_of("$JS.ACK.REFLOW_CHUNKS.writers.3.17.20.1795441781614652636.0"), 3);
        assert_eq!(attempt_of("$JS.ACK._.Xy12.REFLOW_CHUNKS.writers.4.17.20.1795441781614652636.0.tok"), 4);
        assert_eq!(attempt_of("$JS.ACK._.Xy12.REFLOW_CHUNKS.writers.5.17.20.1795441781614652636.0"), 5);
        assert_eq!(attempt_of(""), 1);
    }
}
