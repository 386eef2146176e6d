//! Places between two steps where a test may interfere. In a release nothing does.

use async_trait::async_trait;

/// Called by the writer between its steps.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Chunks are decoded, nothing is committed.
    async fn before_commit(&self) {}

    /// Committed, and nobody has been told: what dies here is delivered again.
    async fn before_ack(&self) {}

    /// A chunk is in the dead letters, and still in the bus.
    async fn before_terminate(&self) {}
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
