//! Why the bus refused, in the kinds a caller decides by.
//!
//! Guarantee: a reason never holds a credential, so that it can be logged and, where a client is told, sent.

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusErrorKind {
    /// The bus cannot be reached: try again.
    Unavailable,
    /// The message is larger than the bus takes: never try again.
    TooLarge,
    /// The dead-letter store is full: an operator has to make room, then trying again helps.
    Full,
    /// The bus is shutting down.
    Closed,
    /// The writer refused this chunk for good.
    Refused,
    /// Streams or consumers are not as this build needs them.
    Setup,
    /// Somebody took too long; trying again may help.
    Timeout,
}

/// An error of the bus.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {reason}")]
pub struct BusError {
    /// What the caller decides by.
    pub kind: BusErrorKind,
    /// What was being done.
    pub context: &'static str,
    /// What went wrong, without secrets.
    pub reason: String,
}

impl BusError {
    /// An error.
    pub fn new(kind: BusErrorKind, context: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, context, reason: reason.into() }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, BusErrorKind::Unavailable | BusErrorKind::Timeout | BusErrorKind::Full)
    }
}
