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

/// Kills the process at a chosen place: `REFLOW_TEST_FAILPOINT=before_ack:3` dies before the third group is acked.
/// Not `REFLOW_TRACING_…`: such a name is a setting, and the configuration refuses those it does not know.
#[cfg(feature = "failpoints")]
#[derive(Debug)]
pub struct Failpoint {
    place: String,
    left: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "failpoints")]
impl Failpoint {
    /// What the environment asks for, if anything.
    pub fn from_environment() -> Option<Self> {
        let wanted = std::env::var("REFLOW_TEST_FAILPOINT").ok()?;
        let (place, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        let nth: u64 = nth.parse().ok()?;
        Some(Self { place: place.to_owned(), left: nth.into() })
    }

    fn reached(&self, place: &str) {
        use std::sync::atomic::Ordering;
        if place == self.place && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}

#[cfg(feature = "failpoints")]
#[async_trait]
impl Hooks for Failpoint {
    async fn before_commit(&self) {
        self.reached("before_commit");
    }

    async fn before_ack(&self) {
        self.reached("before_ack");
    }

    async fn before_terminate(&self) {
        self.reached("before_terminate");
    }
}
