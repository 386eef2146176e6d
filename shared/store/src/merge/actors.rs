//! Per-actor counts of one trace, summed from the headers of its chunks when somebody asks.
//!
//! They are not kept in a table of their own: a row an actor that each chunk of the trace rewrites would cost more than all
//! other tables together, and the headers hold the same counts. Retention takes an actor's counts with its chunks.

use std::collections::BTreeMap;

use reflow_tracing_chunk::{ActorStats, Header};

use super::names::OTHER;
use super::rollup::add_actor;
use crate::ActorRow;

/// Sums over headers.
#[derive(Debug, Default)]
pub(crate) struct ActorSums {
    actors: BTreeMap<String, ActorStats>,
}

impl ActorSums {
    pub fn add(&mut self, header: Header) {
        for actor in header.actors {
            match self.actors.get_mut(&actor.actor) {
                Some(mine) => add_actor(mine, &actor),
                None => drop(self.actors.insert(actor.actor.clone(), actor)),
            }
        }
    }

    /// By actor id; the actors with the fewest events go to `other` when there are more than `limit`.
    pub fn rows(self, limit: usize) -> Vec<ActorRow> {
        let mut actors: Vec<ActorStats> = self.actors.into_values().collect();
        if actors.len() > limit {
            actors.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.actor.cmp(&b.actor)));
            let mut other = ActorStats { actor: OTHER.to_owned(), ..ActorStats::default() };
            actors.drain(limit..).for_each(|actor| add_actor(&mut other, &actor));
            match actors.iter_mut().find(|actor| actor.actor == OTHER) {
                Some(named_other) => add_actor(named_other, &other),
                None => actors.push(other),
            }
            actors.sort_by(|a, b| a.actor.cmp(&b.actor));
        }
        let row = |actor: ActorStats| ActorRow {
            actor: actor.actor,
            events: actor.events,
            failures: actor.failures,
            bytes: actor.bytes,
            event_types: actor.event_types,
            time: actor.time.unwrap_or_default(),
            left_out: actor.left_out.unwrap_or_default(),
        };
        actors.into_iter().map(row).collect()
    }
}
