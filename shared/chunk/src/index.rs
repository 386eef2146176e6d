//! Counts per actor and per edge while a chunk is built.
//!
//! A chunk's events name a handful of actors and edges over and over: those are found by looking along the first few, which is quicker
//! than hashing them. What is beyond the first few is hashed, so that a batch of ten thousand different names stays linear.

use std::collections::HashMap;

use crate::header::{ActorStats, EdgeStats};

/// So many are looked along.
const NEAR: usize = 16;

/// The counts so far, in order of appearance.
#[derive(Debug, Default)]
pub(crate) struct Index {
    actors: Vec<ActorStats>,
    edges: Vec<EdgeStats>,
    /// Where those beyond the first [`NEAR`] are.
    far_actors: HashMap<String, usize>,
    far_edges: HashMap<String, usize>,
}

/// A connection between two ports, by sanitised names.
#[derive(Clone, Copy)]
pub(crate) struct Edge<'n> {
    pub from_actor: &'n str,
    pub from_port: &'n str,
    pub to_actor: &'n str,
    pub to_port: &'n str,
}

impl Index {
    /// The counts of an actor.
    pub fn actor(&mut self, name: &str) -> &mut ActorStats {
        let near = self.actors.iter().take(NEAR).position(|stats| stats.actor == name);
        let found = near.or_else(|| self.far_actors.get(name).copied());
        let place = found.unwrap_or_else(|| {
            if self.actors.len() >= NEAR {
                self.far_actors.insert(name.to_owned(), self.actors.len());
            }
            self.actors.push(ActorStats { actor: name.to_owned(), ..ActorStats::default() });
            self.actors.len() - 1
        });
        &mut self.actors[place]
    }

    /// The counts of an edge.
    pub fn edge(&mut self, edge: Edge<'_>) -> &mut EdgeStats {
        let near = self.edges.iter().take(NEAR).position(|stats| edge.is(stats));
        let full = near.is_none() && self.edges.len() >= NEAR;
        let key = full.then(|| edge.key());
        let far = key.as_ref().and_then(|key| self.far_edges.get(key).copied());
        let place = near.or(far).unwrap_or_else(|| {
            if let Some(key) = key {
                self.far_edges.insert(key, self.edges.len());
            }
            self.edges.push(edge.stats());
            self.edges.len() - 1
        });
        &mut self.edges[place]
    }

    /// All counts, sorted by name.
    pub fn finish(mut self) -> (Vec<ActorStats>, Vec<EdgeStats>) {
        fn names(edge: &EdgeStats) -> [&str; 4] {
            [&edge.from_actor, &edge.from_port, &edge.to_actor, &edge.to_port]
        }
        self.actors.sort_unstable_by(|a, b| a.actor.cmp(&b.actor));
        self.edges.sort_unstable_by(|a, b| names(a).cmp(&names(b)));
        (self.actors, self.edges)
    }
}

impl Edge<'_> {
    fn is(&self, stats: &EdgeStats) -> bool {
        // The receiver first: it tells edges apart most often.
        stats.to_actor == self.to_actor
            && stats.from_actor == self.from_actor
            && stats.from_port == self.from_port
            && stats.to_port == self.to_port
    }

    /// Sanitised names hold no NUL, so that it can part them.
    fn key(&self) -> String {
        [self.from_actor, self.from_port, self.to_actor, self.to_port].join("\0")
    }

    fn stats(&self) -> EdgeStats {
        EdgeStats {
            from_actor: self.from_actor.to_owned(),
            from_port: self.from_port.to_owned(),
            to_actor: self.to_actor.to_owned(),
            to_port: self.to_port.to_owned(),
            ..EdgeStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_place_however_many_there_are() {
        let mut index = Index::default();
        let names: Vec<String> = (0..3 * NEAR).map(|number| format!("actor {number}")).collect();
        for _ in 0..3 {
            for (name, next) in names.iter().zip(names.iter().cycle().skip(1)) {
                index.actor(name).events += 1;
                index.edge(Edge { from_actor: name, from_port: "", to_actor: next, to_port: "in" }).count += 1;
            }
        }
        let (actors, edges) = index.finish();
        assert_eq!((actors.len(), edges.len()), (names.len(), names.len()));
        assert!(actors.iter().all(|stats| stats.events == 3) && actors.is_sorted_by(|a, b| a.actor < b.actor));
        assert!(edges.iter().all(|stats| stats.count == 3) && edges.is_sorted_by(|a, b| a.from_actor < b.from_actor));
    }
}
