//! What can go wrong: the published errors. What is newer beside them is in `undelivered.rs`.

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
