//! Chunks that fail alone, and when they are given up.
//!
//! Guarantee: an outage costs no chunk, however long it lasts, and neither does a fault of one table. A failure counts only if all that the
//! chunk brings was stored of others since the one before, and all counts begin anew when the store is found to take nothing.

use std::collections::HashMap;

use reflow_tracing_chunk::{Chunk, Header};
use uuid::Uuid;

/// Chunks remembered at most; beyond it their counts begin anew, which only keeps them in the bus for longer.
const MAX_FAILING: usize = 10_000;

/// What a chunk may bring beside itself: each lies in tables of its own, which take it while others do not.
const PARTS: usize = 5;

#[derive(Debug)]
pub(crate) struct Failing {
    chunks: HashMap<Uuid, Failures>,
    /// Commits so far that stored something.
    commits: u64,
    /// The last of them that stored each part.
    last_with: [u64; PARTS],
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
        Self { chunks: HashMap::new(), commits: 0, last_with: [0; PARTS], max_failures }
    }

    /// Whether the chunk has failed alone before.
    pub fn knows(&self, chunk: &Chunk) -> bool {
        !self.chunks.is_empty() && self.chunks.contains_key(&chunk.header.chunk_uuid())
    }

    /// Notes that these were committed together. Where some had been seen before, nobody knows which, and what they bring was not
    /// written again: such a commit says nothing of the store.
    pub fn committed(&mut self, chunks: &[Chunk], all_are_new: bool) {
        if all_are_new {
            self.commits += 1;
            for chunk in chunks {
                for (last, brings) in self.last_with.iter_mut().zip(parts(&chunk.header)) {
                    if brings {
                        *last = self.commits;
                    }
                }
            }
        }
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

    /// Notes a failure of a chunk alone; true when it has failed so often, while others like it were stored, that it is hopeless.
    pub fn again(&mut self, chunk: &Chunk) -> bool {
        let chunk_id = chunk.header.chunk_uuid();
        if self.chunks.len() >= MAX_FAILING && !self.chunks.contains_key(&chunk_id) {
            self.chunks.clear();
        }
        let failures = self.chunks.entry(chunk_id).or_insert(Failures { times: 0, commits_before: 0 });
        let before = failures.commits_before;
        let all_stored = self.commits > before
            && self.last_with.iter().zip(parts(&chunk.header)).all(|(last, brings)| !brings || *last > before);
        if failures.times == 0 || all_stored {
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

/// Which parts a chunk brings: rollups, actors, clients, ids as sent, versions.
fn parts(header: &Header) -> [bool; PARTS] {
    [
        header.event_count > 0,
        !header.actors.is_empty(),
        header.client.is_some(),
        !header.sent_ids.is_empty(),
        header.flow_version.is_some(),
    ]
}

#[cfg(test)]
mod tests {
    use reflow_tracing_chunk::{ClientMark, Version};

    use super::*;
    use crate::tests::fake::message;

    /// A chunk with an event of an actor.
    fn events() -> Chunk {
        Chunk::decode(message("a")).unwrap()
    }

    fn with(change: impl FnOnce(&mut Header)) -> Chunk {
        let mut chunk = events();
        change(&mut chunk.header);
        chunk
    }

    /// What a `StartTrace` or an `EndTrace` is.
    fn mark() -> Chunk {
        with(|header| {
            header.event_count = 0;
            header.actors.clear();
        })
    }

    #[test]
    fn only_failures_between_which_others_were_stored_count() {
        let (mut failing, one) = (Failing::new(3), events());
        assert!((0..100).all(|_| !failing.again(&one)), "nothing was stored");
        failing.committed(&[events()], true);
        assert!((0..100).all(|_| !failing.again(&one)), "once");
        failing.committed(&[events()], true);
        assert!(failing.again(&one));
        assert!(!failing.again(&one), "it begins anew");
    }

    #[test]
    fn only_what_brings_all_that_a_chunk_brings_counts() {
        type Change = fn(&mut Header);
        let brings: [Change; 5] = [
            |_| (),
            |header| header.actors.clear(),
            |header| header.client = Some(ClientMark::default()),
            |header| header.sent_ids = vec![1; 16],
            |header| header.flow_version = Some(Version::default()),
        ];
        let is_hopeless = |one: &Chunk, others: &[Chunk]| {
            let mut failing = Failing::new(3);
            (0..10).any(|_| {
                others.iter().for_each(|other| failing.committed(std::slice::from_ref(other), true));
                failing.again(one)
            })
        };
        for change in brings {
            let one = with(change);
            assert!(is_hopeless(&one, &[with(change)]), "its like is stored");
            assert!(is_hopeless(&one, &[with(change), mark()]) && !is_hopeless(&one, &[mark()]));
            assert!(is_hopeless(&mark(), &[one]), "a mark brings nothing that others do not");
        }
        let all = with(|header| brings[2..].iter().for_each(|change| change(header)));
        let each: Vec<_> = brings[2..].iter().map(with).collect();
        assert!(is_hopeless(&all, &each), "together they bring it");
        assert!((0..3).all(|left_out| !is_hopeless(&all, &[&each[..left_out], &each[left_out + 1..]].concat())));
    }

    #[test]
    fn what_had_been_stored_before_says_nothing_of_the_store() {
        let (mut failing, one) = (Failing::new(3), events());
        for _ in 0..100 {
            failing.committed(&[events()], false);
            assert!(!failing.again(&one));
        }
    }

    #[test]
    fn an_outage_makes_every_count_begin_anew() {
        let (mut failing, one) = (Failing::new(3), events());
        for _ in 0..10 {
            assert!(!failing.again(&one));
            failing.committed(&[events()], true);
            assert!(!failing.again(&one));
            failing.store_is_away();
            failing.committed(&[events()], true);
        }
    }
}
