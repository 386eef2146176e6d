//! What asker and query service say to each other.
//!
//! The asker sends its question to [`ASK`] (one member of the queue group gets it) with its [`Patience`] in milliseconds, in a
//! header that tells which kind, and a reply inbox. Everything to that inbox carries the service's own inbox as its reply subject and one header that tells
//! what it is:
//!
//! | header | body | meaning |
//! |---|---|---|
//! | `Reflow-Alive` | - | the question was taken, the service is at it; sent every second that nothing else is |
//! | `Reflow-Piece: n` | bytes | piece `n`, from 0, in order |
//! | `Reflow-End: n` | - | that was all, `n` pieces |
//! | `Reflow-Error: kind` | reason | it failed; what the asker decides by is in the kind |
//!
//! To the service's inbox the asker sends how many pieces it may send in all (a number, cumulative, so that a lost one is
//! mended by the next), or `cancel`. Whoever is gone is noticed by the other at its next word: a message that has a reply
//! subject and no subscriber is answered by the server with status 503.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;

use super::Patience;
use crate::error::{BusError, BusErrorKind};

/// Where questions go.
pub(super) const ASK: &str = "reflow.history.ask";
/// Query services share questions in this queue group.
pub(super) const GROUP: &str = "query";
/// Largest piece of an answer.
pub const MAX_PIECE_BYTES: usize = 256 << 10;
/// How many pieces may be on their way: 2 MiB cover a slow network, and are all that a slow reader holds.
pub(super) const WINDOW: u64 = 8;

const DEADLINE_MS: &str = "Reflow-Deadline-Ms";
const EACH_PIECE_MS: &str = "Reflow-Each-Piece-Ms";
const ALIVE: &str = "Reflow-Alive";
const PIECE: &str = "Reflow-Piece";
const END: &str = "Reflow-End";
const ERROR: &str = "Reflow-Error";
const CANCEL: &[u8] = b"cancel";

/// The headers of a question.
pub(super) fn headers(patience: Patience) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = if patience.is_for_each() { EACH_PIECE_MS } else { DEADLINE_MS };
    headers.insert(kind, patience.time().as_millis().to_string());
    headers
}

/// The patience of a question's asker; one that tells none is waited for as long as the service does.
pub(super) fn patience(question: &Message) -> Patience {
    let told = |kind: &str| {
        let value = question.headers.as_ref()?.get(kind)?;
        value.as_str().parse().ok().map(Duration::from_millis)
    };
    match told(EACH_PIECE_MS) {
        Some(time) => Patience::EachPiece(time),
        None => Patience::Whole(told(DEADLINE_MS).unwrap_or(Duration::MAX)),
    }
}

/// What the service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Alive,
    Piece(u64, Bytes),
    End(u64),
    Error(BusErrorKind, String),
}

impl Reply {
    fn into_parts(self) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let body = match self {
            Reply::Alive => {
                headers.insert(ALIVE, "1");
                Bytes::new()
            }
            Reply::Piece(number, bytes) => {
                headers.insert(PIECE, number.to_string());
                bytes
            }
            Reply::End(count) => {
                headers.insert(END, count.to_string());
                Bytes::new()
            }
            Reply::Error(kind, reason) => {
                headers.insert(ERROR, kind_name(kind));
                Bytes::from(reason)
            }
        };
        (headers, body)
    }

    /// `None` for what this version does not know.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let number = |name: &str| headers.get(name).and_then(|value| value.as_str().parse().ok());
        if let Some(piece) = number(PIECE) {
            return Some(Reply::Piece(piece, message.payload.clone()));
        }
        if let Some(count) = number(END) {
            return Some(Reply::End(count));
        }
        if let Some(kind) = headers.get(ERROR) {
            let reason = String::from_utf8_lossy(&message.payload).into_owned();
            return Some(Reply::Error(kind_of(kind.as_str()), reason));
        }
        headers.get(ALIVE).map(|_| Reply::Alive)
    }

    /// Sends it, with `own_inbox` for the asker's words and for the server's, should the asker be gone.
    pub(super) async fn send(self, client: &Client, to: &str, own_inbox: &str) -> Result<(), BusError> {
        let (headers, body) = self.into_parts();
        let sent = client.publish_with_reply_and_headers(to.to_owned(), own_inbox.to_owned(), headers, body).await;
        sent.map_err(|error| BusError::new(BusErrorKind::Unavailable, "answer history", error.to_string()))
    }
}

/// What the asker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// So many pieces may be sent in all.
    Credit(u64),
    Cancel,
}

impl Word {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        if body == CANCEL {
            return Some(Word::Cancel);
        }
        std::str::from_utf8(body).ok()?.parse().ok().map(Word::Credit)
    }

    pub(super) fn body(self) -> Bytes {
        match self {
            Word::Credit(pieces) => pieces.to_string().into(),
            Word::Cancel => Bytes::from_static(CANCEL),
        }
    }
}

fn kind_name(kind: BusErrorKind) -> &'static str {
    match kind {
        BusErrorKind::Unavailable => "unavailable",
        BusErrorKind::TooLarge => "too-large",
        BusErrorKind::Full => "full",
        BusErrorKind::Closed => "closed",
        BusErrorKind::Refused => "refused",
        BusErrorKind::Setup => "setup",
        BusErrorKind::Timeout => "timeout",
    }
}

/// A kind that this version does not know may pass, for all we know. A service that closes is not the end of the asker.
fn kind_of(name: &str) -> BusErrorKind {
    match name {
        "too-large" => BusErrorKind::TooLarge,
        "full" => BusErrorKind::Full,
        "refused" => BusErrorKind::Refused,
        "setup" => BusErrorKind::Setup,
        "timeout" => BusErrorKind::Timeout,
        _ => BusErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_replies_survive_the_wire() {
        for word in [Word::Credit(0), Word::Credit(u64::MAX), Word::Cancel] {
            assert_eq!(Word::read(&word.body()), Some(word));
        }
        assert_eq!(Word::read(b"\xff"), None);
        let replies = [
            Reply::Alive,
            Reply::Piece(7, Bytes::from_static(b"x")),
            Reply::End(8),
            Reply::Error(BusErrorKind::Refused, "a\r\nreason".to_owned()),
        ];
        for reply in replies {
            let (headers, payload) = reply.clone().into_parts();
            let message = Message {
                subject: "s".into(),
                reply: None,
                length: payload.len(),
                payload,
                headers: Some(headers),
                status: None,
                description: None,
            };
            assert_eq!(Reply::read(&message), Some(reply));
        }
    }
}
