//! Answers: in the words of the peer's generation, as frames.
//!
//! One place maps inner errors to what a client sees; the inner cause is logged, never sent.

use bytes::Bytes;
use reflow_tracing_bus::{BusError, BusErrorKind};
use reflow_tracing_protocol::wire::{Code, Response};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::ask::Dialect;
use crate::budget::Taken;

/// What one frame is answered with.
pub(crate) enum Answer {
    /// A frame of text.
    Text(Utf8Bytes),
    /// So many times "event recorded".
    Recorded(usize),
    /// An answer from history, whole, in pieces.
    Pieces(Pieces),
    /// Several in a row: a gather's.
    Many(Vec<Answer>),
}

/// A long answer and, where it is large, the room that it takes until it is sent.
pub(crate) struct Pieces {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) taken: Option<Taken>,
}

/// `{"EventRecorded":{"success":true,"error":null}}`: by far the most frequent frame.
pub(crate) const RECORDED: &str = r#"{"EventRecorded":{"success":true,"error":null}}"#;

/// A refusal before it is put in anybody's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The label it is counted under.
    pub(crate) reason: &'static str,
    pub(crate) retryable: bool,
}

impl Refusal {
    pub(crate) fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason, retryable: false }
    }

    pub(crate) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// As an `Error` frame.
    pub(crate) fn answer(self, dialect: Dialect, batch_id: Option<Uuid>, request_id: Option<Box<RawValue>>) -> Answer {
        let code = match dialect {
            Dialect::V1Older => None,
            Dialect::V1 => Some(self.code.for_v1()),
            Dialect::V2 => Some(self.code),
        };
        let retryable = (dialect == Dialect::V2).then_some(self.retryable);
        text(&Response::Error { message: self.message, code, retryable, batch_id, request_id })
    }

    /// As the answer to a `RecordEvent` or `EndTrace`, which has room for the message alone in v1.
    pub(crate) fn not_recorded(self, dialect: Dialect, request_id: Option<Box<RawValue>>) -> Answer {
        let v2 = dialect == Dialect::V2;
        let (code, retryable) = (v2.then_some(self.code), v2.then_some(self.retryable));
        text(&Response::EventRecorded { success: false, error: Some(self.message), code, retryable, request_id })
    }
}

/// A refusal by the bus or the writer behind it.
impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "chunk was not taken");
        match error.kind {
            BusErrorKind::TooLarge => {
                Self::new(Code::LimitExceeded, "bus_message_size", format!("too large for the bus: {}", error.reason))
            }
            BusErrorKind::Refused => {
                Self::new(Code::StorageError, "unstorable", format!("the store can never keep this: {}", error.reason))
            }
            BusErrorKind::Full => {
                Self::new(Code::Unavailable, "bus_full", "the bus behind the server is full; send again").retryable()
            }
            BusErrorKind::Closed => {
                Self::new(Code::Unavailable, "shutting_down", "the server is shutting down; send again to another one")
                    .retryable()
            }
            BusErrorKind::Unavailable | BusErrorKind::Timeout | BusErrorKind::Setup => {
                Self::new(Code::Unavailable, "bus_unavailable", "the bus behind the server is away; send again")
                    .retryable()
            }
        }
    }
}

/// A response as a frame.
pub(crate) fn text(response: &Response) -> Answer {
    // Responses hold no map with keys that are not strings, the one thing that cannot be JSON.
    Answer::Text(serde_json::to_string(response).unwrap_or_default().into())
}
