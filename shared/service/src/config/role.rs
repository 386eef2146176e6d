//! Which of the four programs (or which job of one) this is, and what it cannot run without.

use std::fmt;

/// One of the four programs, or a job of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `reflow-collector`: takes events in, puts chunks on the bus.
    Collector,
    /// `reflow-writer`: takes chunks from the bus, writes them to the store.
    Writer,
    /// `reflow-query`: reads the store, follows the bus.
    Query,
    /// `reflow-tracing`: all three in one process.
    Standalone,
    /// A job of the writer on the store alone, such as `reflow-writer migrate`: it needs no bus.
    StoreJob,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Collector, Self::Writer, Self::Query, Self::Standalone, Self::StoreJob];

    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Collector => "reflow-collector",
            Self::Writer | Self::StoreJob => "reflow-writer",
            Self::Query => "reflow-query",
            Self::Standalone => "reflow-tracing",
        }
    }

    /// Whether it opens the store.
    pub fn uses_storage(self) -> bool {
        self != Self::Collector
    }

    /// Whether it listens on the protocol port.
    pub fn listens(self) -> bool {
        matches!(self, Self::Collector | Self::Query | Self::Standalone)
    }

    /// Whether it is one of several processes with NATS between them.
    pub fn needs_nats(self) -> bool {
        matches!(self, Self::Collector | Self::Writer | Self::Query)
    }

    /// Whether it shares the store with other processes.
    pub fn shares_storage(self) -> bool {
        matches!(self, Self::Writer | Self::Query | Self::StoreJob)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}
