//! What a client is told when there is no answer. The one place where inner errors become words for clients.
//!
//! Guarantee: the inner cause is logged here and never sent; a client learns whose fault it is and whether trying again helps.

use bytes::Bytes;
use reflow_tracing_bus::{BusError, BusErrorKind};
use reflow_tracing_protocol::wire::{Code, Response};
use reflow_tracing_session::{Dialect, Question};
use reflow_tracing_store::{StoreError, StoreErrorKind};

/// A refusal in the words of v2; [`Refusal::frame`] puts it into those of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: Code,
    pub message: String,
    pub retryable: bool,
}

impl Refusal {
    /// The question is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: Code::InvalidRequest, message: message.into(), retryable: false }
    }

    /// The answer is too large; `message` says how to narrow the question.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { code: Code::LimitExceeded, message: message.into(), retryable: false }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { code: Code::NotFound, message: message.into(), retryable: false }
    }

    /// What is stored cannot be shown.
    pub fn damaged(what: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, what, "stored data cannot be read");
        let message = format!("{what} cannot be read from the store; the server's log has the cause");
        Self { code: Code::StorageError, message, retryable: false }
    }

    /// A part of this process failed.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "question failed");
        let message = "the server failed to answer; its log has the cause".to_owned();
        Self { code: Code::InternalError, message, retryable: true }
    }

    /// Whether the client asked for something it cannot have, rather than the service failing.
    pub fn is_clients_fault(&self) -> bool {
        matches!(self.code, Code::InvalidRequest | Code::LimitExceeded | Code::NotFound)
    }

    /// For askers that read no frames.
    pub fn into_bus(self) -> BusError {
        let kind = if self.retryable { BusErrorKind::Unavailable } else { BusErrorKind::Refused };
        BusError::new(kind, "answer question", self.message)
    }

    /// The whole response frame.
    pub fn frame(&self, question: &Question) -> Bytes {
        let (code, retryable) = match question.dialect {
            Dialect::V1 => (Some(self.code.for_v1()), None),
            Dialect::V1Older => (None, None),
            Dialect::V2 => (Some(self.code), Some(self.retryable)),
        };
        let response = Response::Error {
            message: self.message.clone(),
            code,
            retryable,
            batch_id: None,
            request_id: question.request_id.clone(),
        };
        // Strings, numbers and JSON that was parsed before: nothing in it can fail to be written.
        serde_json::to_vec(&response).unwrap_or_default().into()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (code, retryable, message) = match error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Full => {
                (Code::Unavailable, true, "the store cannot be reached; try again")
            }
            StoreErrorKind::Schema | StoreErrorKind::Locked => {
                (Code::Unavailable, false, "the store is not ready for this service; its operator must look")
            }
            StoreErrorKind::Corrupt => {
                (Code::StorageError, false, "what is stored cannot be read; the server's log has the cause")
            }
            StoreErrorKind::Rejected => {
                (Code::StorageError, false, "the store refused the question; the server's log has the cause")
            }
        };
        if retryable {
            tracing::warn!(%error, "store cannot answer");
        } else {
            tracing::error!(%error, "store cannot answer");
        }
        Self { code, message: message.to_owned(), retryable }
    }
}
