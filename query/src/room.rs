//! Room in memory for large answers.
//!
//! Guarantee: however many questions come at once, at most [`LARGE_ANSWERS`] of them hold more than [`SMALL_BYTES`]; others wait.
//! A question takes room once and never waits holding some, so two cannot wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// What any question may hold. Nearly all traces are smaller.
const SMALL_BYTES: usize = 4 << 20;

/// Large answers at once: with the 64 MiB of the largest answer a query service stays near 256 MiB.
pub(crate) const LARGE_ANSWERS: usize = 2;

/// What one question has taken so far.
pub(crate) struct Room {
    large: Arc<Semaphore>,
    taken: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Nothing taken yet.
    pub fn new(large: Arc<Semaphore>) -> Self {
        Self { large, taken: 0, permit: None }
    }

    /// Takes room for so many bytes more, waiting for others to give theirs back when it becomes a large answer.
    pub async fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > SMALL_BYTES && self.permit.is_none() {
            let permit = self.large.clone().acquire_owned().await.map_err(|error| Refusal::internal(&error))?;
            self.permit = Some(permit);
        }
        Ok(())
    }

    /// What must be held until the answer is gone.
    pub fn into_permit(self) -> Option<OwnedSemaphorePermit> {
        self.permit
    }
}
