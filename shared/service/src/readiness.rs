//! Ready is a set of latches: each part that must be up once before the service is of use sets its own.
//!
//! A latch never falls back. An outage behind the service (bus, store) is not a reason to take it out of rotation: its
//! clients would only move to a neighbour with the same outage, while here they are pushed back and wait. Only a drain
//! makes it not ready again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// The readiness of one service. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    latches: BTreeMap<String, LatchState>,
    draining: bool,
}

#[derive(Debug, Default, Clone)]
struct LatchState {
    set: bool,
    waiting_for: Option<String>,
}

/// One condition. It stays unset when dropped: a part that gave up is not ready.
#[derive(Debug, Clone)]
pub struct Latch {
    name: String,
    readiness: Readiness,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All latches set, and not draining.
    pub ready: bool,
    /// A shutdown has begun.
    pub draining: bool,
    /// Each latch, and whether it is set.
    pub latches: BTreeMap<String, bool>,
    /// What unset latches wait for, where it is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting_for: BTreeMap<String, String>,
}

impl Readiness {
    /// Without a latch: ready at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, unset. The same name twice is the same condition.
    pub fn latch(&self, name: &str) -> Latch {
        self.state().latches.entry(name.to_owned()).or_default();
        Latch { name: name.to_owned(), readiness: self.clone() }
    }

    /// From here on not ready, whatever the latches say.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Whether all latches are set and no drain has begun.
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        !state.draining && state.latches.values().all(|latch| latch.set)
    }

    /// Everything there is to say.
    pub fn report(&self) -> Report {
        let state = self.state();
        let unset = state.latches.iter().filter(|(_, latch)| !latch.set);
        Report {
            ready: !state.draining && state.latches.values().all(|latch| latch.set),
            draining: state.draining,
            latches: state.latches.iter().map(|(name, latch)| (name.clone(), latch.set)).collect(),
            waiting_for: unset.filter_map(|(name, latch)| Some((name.clone(), latch.waiting_for.clone()?))).collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held cannot have left it half changed: every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// The condition holds. It stays so.
    pub fn set(&self) {
        let mut state = self.readiness.state();
        let latch = state.latches.entry(self.name.clone()).or_default();
        if !latch.set {
            latch.set = true;
            latch.waiting_for = None;
            tracing::info!(latch = %self.name, "latch set");
        }
    }

    /// Says why it is not set yet, for whoever asks `/readyz`: `another writer holds the lock file`.
    pub fn waiting_for(&self, reason: impl Into<String>) {
        let mut state = self.readiness.state();
        let latch = state.latches.entry(self.name.clone()).or_default();
        if !latch.set {
            latch.waiting_for = Some(reason.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_latches_are_set_and_until_a_drain() {
        let readiness = Readiness::new();
        let (bus, schema) = (readiness.latch("bus"), readiness.latch("schema"));
        bus.set();
        schema.waiting_for("version 3");
        let report = readiness.report();
        assert!(!report.ready && report.latches["bus"] && !report.latches["schema"]);
        assert_eq!(report.waiting_for["schema"], "version 3");
        schema.set();
        assert!(readiness.is_ready() && readiness.report().waiting_for.is_empty());
        readiness.drain();
        assert!(!readiness.is_ready() && readiness.report().draining);
    }

    #[test]
    fn a_latch_that_was_dropped_unset_keeps_the_service_not_ready() {
        let readiness = Readiness::new();
        drop(readiness.latch("bus"));
        assert!(!readiness.is_ready());
    }
}
