//! The socket of one session: frames in, answers out, never slower than `write_timeout`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::answer::{Answer, Pieces, RECORDED};
use crate::budget::{BudgetedIo, Taken};
use crate::capabilities::Shared;
use crate::close::Ending;

/// Published clients refuse frames over 16 MiB; pings get in between fragments.
const FRAGMENT_BYTES: usize = 1 << 20;
/// After so many bytes without a flush, flush.
const ENOUGH_BYTES: usize = 64 << 10;

/// Why nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The peer has gone.
    Gone,
    /// The peer does not take what we send.
    Slow,
}

/// A message, an error, or the end.
type Read = Option<Result<Message, WsError>>;

/// A session's socket.
pub(crate) struct Outgoing<S> {
    socket: WebSocketStream<BudgetedIo<S>>,
    shared: Arc<Shared>,
    fed: usize,
    ping_at: Instant,
    /// What was read in the middle of a long answer and has not been taken yet. One at most.
    early: Option<Read>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Outgoing<S> {
    pub(crate) fn new(socket: WebSocketStream<BudgetedIo<S>>, shared: Arc<Shared>) -> Self {
        let ping_at = Instant::now() + shared.limits.ping_interval;
        Self { socket, shared, fed: 0, ping_at, early: None }
    }

    /// The next message. Cancelling it loses nothing.
    pub(crate) async fn next(&mut self) -> Read {
        match self.early.take() {
            Some(read) => read,
            None => self.socket.next().await,
        }
    }

    /// What the message just read holds of the byte budget.
    pub(crate) fn take_held(&mut self) -> Option<Taken> {
        self.socket.get_mut().take_held()
    }

    /// Since when the peer is in the middle of a large frame.
    pub(crate) fn holds_budget_since(&self) -> Option<Instant> {
        self.socket.get_ref().held_since()
    }

    pub(crate) fn waits_for_budget(&self) -> bool {
        self.socket.get_ref().waits()
    }

    /// Whether more may be fed before a flush.
    pub(crate) fn has_room(&self) -> bool {
        self.fed < ENOUGH_BYTES
    }

    /// Sends an answer and flushes.
    pub(crate) async fn answer(&mut self, answer: Answer) -> Result<(), SendError> {
        self.feed(answer).await?;
        self.flush().await
    }

    /// Sends an answer without flushing.
    pub(crate) async fn feed(&mut self, answer: Answer) -> Result<(), SendError> {
        match answer {
            Answer::Text(frame) => self.message(Message::Text(frame)).await,
            Answer::Recorded(count) => {
                for _ in 0..count {
                    self.message(Message::Text(Utf8Bytes::from_static(RECORDED))).await?;
                }
                Ok(())
            }
            Answer::Pieces(pieces) => self.fragments(pieces).await,
            Answer::Many(answers) => {
                for answer in answers {
                    Box::pin(self.feed(answer)).await?;
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn ping_if_due(&mut self) -> Result<(), SendError> {
        let now = Instant::now();
        if now < self.ping_at {
            return Ok(());
        }
        self.ping_at = now.max(self.ping_at + self.shared.limits.ping_interval);
        self.message(Message::Ping(Bytes::new())).await?;
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), SendError> {
        self.fed = 0;
        sent(timeout(self.shared.limits.write_timeout, self.socket.flush()).await)
    }

    /// Says goodbye and waits a moment for the peer's.
    pub(crate) async fn close(&mut self, ending: Ending) {
        let goodbye = async {
            let said = match ending.frame() {
                Some(frame) => self.socket.close(Some(frame)).await,
                // The peer was first: the library has its answer ready, which only has to go out.
                None => SinkExt::close(&mut self.socket).await,
            };
            if said.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // A peer that says nothing more cannot hold us.
        let _ = timeout(self.shared.limits.handshake_timeout.min(std::time::Duration::from_secs(2)), goodbye).await;
    }

    /// One text message in fragments, so that no frame is larger than a published client takes.
    /// Its room is given back as it goes.
    async fn fragments(&mut self, answer: Pieces) -> Result<(), SendError> {
        let Pieces { mut pieces, mut taken } = answer;
        let mut fragment = Vec::new();
        let mut data = Data::Text;
        let total: usize = pieces.iter().map(Bytes::len).sum();
        let mut sent = 0;
        if total <= FRAGMENT_BYTES {
            let one = if pieces.len() == 1 { pieces.pop() } else { None };
            let whole = one.unwrap_or_else(|| pieces.concat().into());
            let frame = Frame::message(whole, OpCode::Data(Data::Text), true);
            return self.message(Message::Frame(frame)).await;
        }
        for piece in pieces {
            fragment.extend_from_slice(&piece);
            if fragment.len() >= FRAGMENT_BYTES {
                sent += fragment.len();
                let frame = Frame::message(std::mem::take(&mut fragment), OpCode::Data(data), false);
                self.message(Message::Frame(frame)).await?;
                self.flush().await?;
                self.breathe().await?;
                data = Data::Continue;
                taken = taken.map(|taken| taken.trimmed(total - sent));
            }
        }
        let frame = Frame::message(fragment, OpCode::Data(data), true);
        self.message(Message::Frame(frame)).await
    }

    /// In the middle of a long answer: a ping goes out when it is due, and the peer's pings are answered (by the library, with the next
    /// write), so that neither side takes the other for dead.
    async fn breathe(&mut self) -> Result<(), SendError> {
        while self.early.is_none()
            && let Some(read) = self.socket.next().now_or_never()
        {
            if !matches!(read, Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) {
                self.early = Some(read);
            }
        }
        self.ping_if_due().await
    }

    async fn message(&mut self, message: Message) -> Result<(), SendError> {
        self.fed += message.len();
        self.shared.metrics.sent_bytes.inc_by(message.len() as u64);
        let outcome = sent(timeout(self.shared.limits.write_timeout, self.socket.feed(message)).await);
        if self.has_room() { outcome } else { outcome.and(self.flush().await) }
    }
}

fn sent(outcome: Result<Result<(), WsError>, tokio::time::error::Elapsed>) -> Result<(), SendError> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(SendError::Gone),
        Err(_) => Err(SendError::Slow),
    }
}
