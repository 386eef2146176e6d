//! Why the store refused, in the kinds a caller decides by.

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store cannot be reached or is shutting down: try again, for ever.
    Unavailable,
    /// The disk is full: try again later; the operator must make room.
    Full,
    /// The backend can never store this batch as it is: narrow it down, then dead-letter the culprit.
    Rejected,
    /// The schema is older or newer than this build works with: migrate.
    Schema,
    /// Another process holds what only one may (the SQLite lock file, a writer slot).
    Locked,
    /// What is stored cannot be read.
    Corrupt,
}

/// An error of the store. `Display` is for logs and operators; what clients see is decided elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {reason}")]
pub struct StoreError {
    /// What the caller decides by.
    pub kind: StoreErrorKind,
    /// What was being done.
    pub context: &'static str,
    /// What went wrong, without secrets.
    pub reason: String,
    /// The backend's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error without an inner one.
    pub fn new(kind: StoreErrorKind, context: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, context, reason: reason.into(), source: None }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Full)
    }
}
