//! The driver and its spool: what is made goes in, what is settled comes out, what the last process left is sent.
//!
//! A spool that cannot be used is told in the log and done without: tracing is never in the program's way.

use std::io;

use super::super::batch::{Body, Outgoing};
use super::super::metrics::{Counters, DropReason};
use super::super::shared::Shared;
use super::super::spool::Spool;
use super::Driver;

impl Driver {
    /// Opens the spool, if there is to be one, and takes over what the last process has left in it.
    pub(super) fn open_spool(&mut self) {
        let settings = &self.shared.settings;
        let Some(path) = &settings.spool else { return };
        match Spool::open(path, settings.spool_bytes) {
            Ok((spool, left)) => {
                if !left.is_empty() {
                    let events: u64 = left.iter().map(|outgoing| u64::from(outgoing.events)).sum();
                    tracing::info!(path = %path.display(), events, "the spool holds what was not delivered before");
                    Counters::add(&self.shared.counters.events_from_spool, events);
                }
                if spool.damaged_events() > 0 {
                    // Of which traces nobody can tell any more.
                    Counters::add(&self.shared.counters.events_from_spool, spool.damaged_events());
                    self.shared.counters.dropped(DropReason::Spool, spool.damaged_events());
                }
                for mut outgoing in left {
                    self.number += 1;
                    outgoing.number = self.number;
                    self.shared.hold(outgoing.bytes());
                    self.shared.backlog().push_back(outgoing);
                }
                self.spool = Some(spool);
                self.show_spool();
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the spool cannot be used; a crash would lose what is not acked");
                Counters::add(&self.shared.counters.spool_errors, 1);
                self.shared.state().spool_error = Some(format!("spool {}: {error}", path.display()));
            }
        }
    }

    /// Puts something that must arrive into the spool. Without room there it stays in memory, as without a spool.
    pub(super) fn keep(&mut self, outgoing: &mut Outgoing) {
        let Some(spool) = &mut self.spool else { return };
        match spool.append(outgoing) {
            Ok(true) => {
                outgoing.spooled = true;
                Counters::add(&self.shared.counters.events_spooled, u64::from(outgoing.events));
            }
            Ok(false) => {
                Counters::add(&self.shared.counters.spool_full, 1);
                tracing::debug!(events = outgoing.events, "the spool is full; a batch stays in memory");
            }
            Err(error) => self.spool_failed(&error),
        }
        self.show_spool();
    }

    /// Crosses out what is acked or given up.
    pub(super) fn cross_out(&mut self, outgoing: &Outgoing) {
        if let (true, Some(spool)) = (outgoing.spooled, &mut self.spool)
            && let Err(error) = spool.settle(outgoing.id)
        {
            self.spool_failed(&error);
        }
        self.show_spool();
    }

    fn spool_failed(&mut self, error: &io::Error) {
        Counters::add(&self.shared.counters.spool_errors, 1);
        tracing::warn!(%error, "the spool cannot be written");
    }

    fn show_spool(&self) {
        if let Some(spool) = &self.spool {
            self.shared.counters.spool_bytes.store(spool.bytes(), std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Takes what lies in the spool alone into memory; false, and it is dropped, if that cannot be.
pub(super) fn load(spool: &mut Option<Spool>, shared: &Shared, outgoing: &mut Outgoing) -> bool {
    if !matches!(outgoing.body, Body::Spooled) {
        return true;
    }
    let read = spool.as_mut().map_or_else(|| Err(io::Error::other("there is no spool")), |spool| spool.read(outgoing));
    let before = outgoing.bytes();
    match read {
        Ok(body) => {
            outgoing.body = body;
            shared.hold(outgoing.bytes() - before);
            true
        }
        Err(error) => {
            Counters::add(&shared.counters.spool_errors, 1);
            tracing::error!(%error, events = outgoing.events, "a batch cannot be read from the spool and is dropped");
            shared.release(before);
            shared.drop_events(outgoing.trace_id, outgoing.events, DropReason::Spool);
            false
        }
    }
}
