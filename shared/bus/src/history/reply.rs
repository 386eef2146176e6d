//! One answer, from the question to its end mark.
//!
//! Guarantee: the handler's future and stream are dropped as soon as the asker is gone, has cancelled, or its patience is over;
//! no more pieces are sent than the asker has granted.
//!
//! An answer that somebody waits for as a whole keeps its place among those that run until it is sent. One whose asker is patient
//! for each piece may be read by somebody slow, for hours: while it waits for him it gives its place back, and it ends when the
//! service stops.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::wire::{MAX_PIECE_BYTES, Reply, WINDOW, Word};
use super::{HistoryHandler, Patience};
use crate::error::{BusError, BusErrorKind};
use crate::nats::HEADER_ROOM;

const CONTEXT: &str = "answer history";

/// Where an answer goes.
pub(super) struct Asker {
    client: Client,
    inbox: String,
    own_inbox: String,
}

impl Asker {
    /// `None` when the question has no reply inbox.
    pub(super) fn of(client: &Client, question: &Message) -> Option<Self> {
        let inbox = question.reply.as_ref()?.to_string();
        Some(Self { client: client.clone(), inbox, own_inbox: client.new_inbox() })
    }

    pub(super) async fn say(&self, reply: Reply) -> Result<(), BusError> {
        reply.send(&self.client, &self.inbox, &self.own_inbox).await
    }
}

/// What all answers of a service go by.
pub(super) struct Serving {
    pub(super) handler: Arc<dyn HistoryHandler>,
    /// Places of handlers that run.
    pub(super) running: Semaphore,
    pub(super) alive_every: Duration,
    pub(super) stop: CancellationToken,
}

/// Answers one question; an error tells why the answer was not finished.
pub(super) async fn reply_to(
    asker: Asker,
    question: Bytes,
    patience: Patience,
    serving: &Serving,
) -> Result<(), BusError> {
    let words = asker.client.subscribe(asker.own_inbox.clone()).await;
    let words = words.map_err(|error| unavailable(&error.to_string()))?;
    let alive_at = Instant::now() + serving.alive_every;
    let mut talk = Talk {
        asker,
        words,
        granted: WINDOW,
        sent: 0,
        alive_at,
        patience,
        until: patience.until(),
        serving,
        place: None,
    };
    talk.say(Reply::Alive).await?;
    let outcome = talk.answer(question).await;
    let last = match &outcome {
        Ok(()) => Reply::End(talk.sent),
        Err(error) => Reply::Error(error.kind, error.reason.clone()),
    };
    talk.say(last).await?;
    outcome
}

struct Talk<'a> {
    asker: Asker,
    words: Subscriber,
    granted: u64,
    sent: u64,
    alive_at: Instant,
    patience: Patience,
    /// When it is over.
    until: Instant,
    serving: &'a Serving,
    /// Among those that run.
    place: Option<SemaphorePermit<'a>>,
}

impl Talk<'_> {
    async fn answer(&mut self, question: Bytes) -> Result<(), BusError> {
        self.take_place().await?;
        let mut answer = self.meanwhile(self.serving.handler.answer(question)).await??;
        let max_piece = MAX_PIECE_BYTES.min(self.asker.client.max_payload().saturating_sub(HEADER_ROOM)).max(1);
        while let Some(piece) = self.meanwhile(answer.next()).await? {
            let mut rest = piece?;
            while !rest.is_empty() {
                self.credit().await?;
                let piece = rest.split_to(rest.len().min(max_piece));
                self.say(Reply::Piece(self.sent, piece)).await?;
                self.sent += 1;
            }
        }
        Ok(())
    }

    /// Takes a place among those that run, unless it has one.
    async fn take_place(&mut self) -> Result<(), BusError> {
        if self.place.is_none() {
            let place = self.meanwhile(self.serving.running.acquire()).await?;
            self.place = Some(place.map_err(|_| stopping())?);
        }
        Ok(())
    }

    /// Waits for a future while it listens to the asker and gives signs of life.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, BusError> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.until) => return Err(timed_out()),
                word = self.words.next() => self.hear(word)?,
                output = &mut future => return Ok(output),
                () = sleep_until(self.alive_at) => self.say(Reply::Alive).await?,
            }
        }
    }

    /// Waits until one more piece may be sent.
    async fn credit(&mut self) -> Result<(), BusError> {
        let each = self.patience.is_for_each();
        while self.sent >= self.granted {
            if each {
                self.place = None;
            }
            tokio::select! {
                biased;
                word = self.words.next() => self.hear(word)?,
                () = self.serving.stop.cancelled(), if each => return Err(stopping()),
                () = sleep_until(self.until), if !each => return Err(timed_out()),
                () = sleep_until(self.alive_at) => self.say(Reply::Alive).await?,
            }
        }
        // From here on the asker waits for us.
        self.patience.renew(&mut self.until);
        self.take_place().await
    }

    async fn say(&mut self, reply: Reply) -> Result<(), BusError> {
        self.alive_at = Instant::now() + self.serving.alive_every;
        self.asker.say(reply).await
    }

    fn hear(&mut self, word: Option<Message>) -> Result<(), BusError> {
        let Some(word) = word else { return Err(unavailable("the connection has ended")) };
        if word.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(unavailable("the asker is gone"));
        }
        match Word::read(&word.payload) {
            Some(Word::Credit(granted)) => self.granted = self.granted.max(granted),
            Some(Word::Cancel) => return Err(unavailable("the asker does not want the answer any more")),
            None => {}
        }
        Ok(())
    }
}

fn unavailable(reason: &str) -> BusError {
    BusError::new(BusErrorKind::Unavailable, CONTEXT, reason)
}

fn stopping() -> BusError {
    unavailable("the query service is stopping")
}

fn timed_out() -> BusError {
    BusError::new(BusErrorKind::Timeout, CONTEXT, "the deadline has passed")
}
