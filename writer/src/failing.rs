//! Chunks that fail alone, and when they are given up.
//!
//! Guarantee: an outage costs no chunk, however long it lasts. A failure counts only if others were stored since the one before, and
//! all counts begin anew when the store is found to take nothing.

use std::collections::HashMap;

use reflow_tracing_chunk::Chunk;
use uuid::Uuid;

/// Chunks remembered at most; beyond it their counts begin anew, which only keeps them in the bus for longer.
const MAX_FAILING: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Failing {
    chunks: HashMap<Uuid, Failures>,
    /// Successful commits so far.
    commits: u64,
    max_failures: u32,
}

#[derive(Debug)]
struct Failures {
    /// Those that count.
    times: u32,
    /// Commits there had been at the last of them.
    commits_before: u64,
}

impl Failing {
    pub fn new(max_failures: u32) -> Self {
        Self { chunks: HashMap::new(), commits: 0, max_failures }
    }

    /// Whether the chunk has failed alone before.
    pub fn knows(&self, chunk: &Chunk) -> bool {
        !self.chunks.is_empty() && self.chunks.contains_key(&chunk.header.chunk_uuid())
    }

    /// Notes that these were stored together.
    pub fn stored(&mut self, chunks: &[Chunk]) {
        self.commits += 1;
        if !self.chunks.is_empty() {
            for chunk in chunks {
                self.chunks.remove(&chunk.header.chunk_uuid());
            }
        }
    }

    /// Notes that nothing can be stored now: what has failed until then may have failed for that.
    pub fn store_is_away(&mut self) {
        self.chunks.clear();
    }

    /// Notes a failure of a chunk alone; true when it has failed so often, while others were stored, that it is hopeless.
    pub fn again(&mut self, chunk_id: Uuid) -> bool {
        if self.chunks.len() >= MAX_FAILING && !self.chunks.contains_key(&chunk_id) {
            self.chunks.clear();
        }
        let failures = self.chunks.entry(chunk_id).or_insert(Failures { times: 0, commits_before: 0 });
        if failures.times == 0 || self.commits > failures.commits_before {
            failures.times += 1;
            failures.commits_before = self.commits;
        }
        let hopeless = failures.times >= self.max_failures;
        if hopeless {
            self.chunks.remove(&chunk_id);
        }
        hopeless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);

    #[test]
    fn only_failures_between_which_others_were_stored_count() {
        let mut failing = Failing::new(3);
        assert!((0..100).all(|_| !failing.again(ONE)), "nothing was stored");
        failing.stored(&[]);
        assert!((0..100).all(|_| !failing.again(ONE)), "once");
        failing.stored(&[]);
        assert!(failing.again(ONE));
        assert!(!failing.again(ONE), "it begins anew");
    }

    #[test]
    fn an_outage_makes_every_count_begin_anew() {
        let mut failing = Failing::new(3);
        for _ in 0..10 {
            assert!(!failing.again(ONE));
            failing.stored(&[]);
            assert!(!failing.again(ONE));
            failing.store_is_away();
            failing.stored(&[]);
        }
    }
}
