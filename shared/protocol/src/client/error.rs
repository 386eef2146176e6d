//! What can go wrong: the published errors, and what is newer beside them.

/// Errors that can occur during tracing operations, as published.
#[derive(Debug, thiserror::Error)]
pub enum TracingError {
    /// No connection, and why.
    #[error("Connection failed: {0}")]
    ConnectionFailed(String),
    /// Something is not JSON as it should be.
    #[error("Serialization failed: {0}")]
    SerializationFailed(#[from] serde_json::Error),
    /// The server refused, or the connection broke, and why.
    #[error("WebSocket error: {0}")]
    WebSocketError(String),
    /// The client is shut down, or there is no connection.
    #[error("Client is disconnected")]
    Disconnected,
    /// There was no answer in time.
    #[error("Timeout occurred")]
    Timeout,
}

/// What of the recorded events is not known to be stored when `flush_within` or `shutdown_within` returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "{events} events in {batches} batches were not delivered in time ({spooled} of the events are in the spool): {reason}"
)]
#[non_exhaustive]
pub struct Undelivered {
    /// Events without an ack: they wait, or are on their way.
    pub events: u64,
    /// In so many batches.
    pub batches: u64,
    /// Of the events, those that lie in the spool and are sent at the next start.
    pub spooled: u64,
    /// What keeps them, such as the last error of the connection.
    pub reason: String,
}
