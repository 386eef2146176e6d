//! The collector's side of history over NATS.
//!
//! Guarantee: an answer is whole and in order, or ends with an error; a query service that dies, hangs, or loses a piece is a
//! retryable error within the silence time, and none at all is one at once. What is held of an answer is bounded by the window.
//!
//! Nothing runs beside the reader: the stream itself waits, grants and looks after time. A reader that pauses therefore pauses
//! the answer, and only the service's signs of life gather.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{ASK, Reply, WINDOW, Word, headers};
use super::{AnswerStream, HistoryClient, Patience};
use crate::NatsBus;
use crate::error::{BusError, BusErrorKind};
use crate::nats::link::Link;

const CONTEXT: &str = "ask history";

/// How patient an asker is.
#[derive(Clone, Copy, Debug)]
pub struct AskOptions {
    /// A service that says nothing for so long is taken for dead (5 s; it gives a sign of life every second).
    pub silence: Duration,
    /// While waiting, ask so often whether the service is still there (1 s).
    pub ping_every: Duration,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self { silence: Duration::from_secs(5), ping_every: Duration::from_secs(1) }
    }
}

/// Asks query services over NATS.
#[derive(Clone)]
pub struct NatsHistory {
    link: Link,
    options: AskOptions,
}

impl NatsHistory {
    /// Asks over the connection of a bus.
    pub fn new(bus: &NatsBus, options: AskOptions) -> Self {
        Self { link: bus.inner.link.clone(), options }
    }
}

#[async_trait]
impl HistoryClient for NatsHistory {
    async fn ask(&self, question: Bytes, patience: Patience) -> Result<AnswerStream, BusError> {
        let until = patience.until();
        if !self.link.is_up() {
            let wait = timeout(patience.time().min(self.options.silence), self.link.until_up());
            wait.await.map_err(|_| unavailable("not connected to nats"))?;
        }
        let client = self.link.client.clone();
        let inbox = client.new_inbox();
        let inbound = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error.to_string()))?;
        let size = question.len();
        let sent = client.publish_with_reply_and_headers(ASK, inbox.clone(), headers(patience), question).await;
        sent.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => {
                let max = client.max_payload();
                let reason = format!(
                    "a question of {size} bytes is larger than the nats server takes (max_payload = {max}, headers included)"
                );
                BusError::new(BusErrorKind::TooLarge, CONTEXT, reason)
            }
            _ => unavailable(&error.to_string()),
        })?;
        let mut answer = Answer {
            client,
            inbox,
            inbound,
            service: None,
            next: 0,
            granted: WINDOW,
            patience,
            until,
            options: self.options,
            over: false,
            first: None,
        };
        // Whether there is a service that takes the question is known before the stream is handed out.
        answer.first = match answer.next_reply().await? {
            Reply::Error(kind, reason) => return Err(BusError::new(kind, CONTEXT, reason)),
            reply => Some(reply),
        };
        let pieces = stream::unfold(answer, |mut answer| async move {
            let piece = answer.next_piece().await?;
            Some((piece, answer))
        });
        Ok(pieces.boxed())
    }
}

/// An answer that is being read.
struct Answer {
    client: Client,
    inbox: String,
    inbound: Subscriber,
    /// The service's inbox, once it has said something.
    service: Option<String>,
    /// Number of the next piece.
    next: u64,
    /// So many pieces the service may send in all.
    granted: u64,
    patience: Patience,
    /// When it is over.
    until: Instant,
    options: AskOptions,
    over: bool,
    /// Read already, to be handled first.
    first: Option<Reply>,
}

impl Answer {
    async fn next_piece(&mut self) -> Option<Result<Bytes, BusError>> {
        if self.over {
            return None;
        }
        self.patience.renew(&mut self.until);
        let piece = loop {
            let reply = match self.first.take() {
                Some(reply) => Ok(reply),
                None => self.next_reply().await,
            };
            match reply {
                Ok(Reply::Alive) => {}
                Ok(Reply::Piece(number, bytes)) if number == self.next => {
                    self.next += 1;
                    if let Err(error) = self.grant().await {
                        break Some(Err(error));
                    }
                    return Some(Ok(bytes));
                }
                Ok(Reply::End(count)) if count == self.next => break None,
                Ok(Reply::Piece(..) | Reply::End(_)) => {
                    let reason = format!("piece {} of the answer was lost on the way", self.next);
                    break Some(Err(unavailable(&reason)));
                }
                Ok(Reply::Error(kind, reason)) => break Some(Err(BusError::new(kind, CONTEXT, reason))),
                Err(error) => break Some(Err(error)),
            }
        };
        self.over = true;
        piece
    }

    /// Allows more pieces, half a window at a time.
    async fn grant(&mut self) -> Result<(), BusError> {
        let granted = self.next + WINDOW;
        if granted < self.granted + WINDOW / 2 {
            return Ok(());
        }
        self.granted = granted;
        self.say(Word::Credit(granted)).await
    }

    async fn say(&self, word: Word) -> Result<(), BusError> {
        let Some(service) = &self.service else { return Ok(()) };
        let said = self.client.publish_with_reply(service.clone(), self.inbox.clone(), word.body()).await;
        said.map_err(|error| unavailable(&error.to_string()))
    }

    /// Waits for the service's next word.
    async fn next_reply(&mut self) -> Result<Reply, BusError> {
        let silent_at = Instant::now() + self.options.silence;
        let mut ping_at = Instant::now() + self.options.ping_every;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.until) => return Err(timed_out("the deadline has passed")),
                message = self.inbound.next() => {
                    let Some(message) = message else { return Err(unavailable("the connection has ended")) };
                    if let Some(reply) = self.read(message)? {
                        return Ok(reply);
                    }
                }
                () = sleep_until(silent_at) => return Err(unavailable("the query service does not answer any more")),
                () = sleep_until(ping_at) => {
                    // The last grant again mends one that was lost, and finds out whether anybody is there.
                    self.say(Word::Credit(self.granted)).await?;
                    ping_at = Instant::now() + self.options.ping_every;
                }
            }
        }
    }

    fn read(&mut self, message: Message) -> Result<Option<Reply>, BusError> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let reason =
                if self.service.is_some() { "the query service went away" } else { "no query service is running" };
            return Err(unavailable(reason));
        }
        let reply = Reply::read(&message);
        if self.service.is_none() {
            self.service = message.reply.map(|inbox| inbox.to_string());
        }
        Ok(reply)
    }
}

impl Drop for Answer {
    /// Says so when the answer is no longer wanted. Best effort: the service also notices that the inbox is gone.
    fn drop(&mut self) {
        let (Some(service), Ok(runtime)) = (self.service.take(), tokio::runtime::Handle::try_current()) else { return };
        if !self.over {
            let client = self.client.clone();
            runtime.spawn(async move { client.publish(service, Word::Cancel.body()).await });
        }
    }
}

fn unavailable(reason: &str) -> BusError {
    BusError::new(BusErrorKind::Unavailable, CONTEXT, reason)
}

fn timed_out(reason: &str) -> BusError {
    BusError::new(BusErrorKind::Timeout, CONTEXT, reason)
}
