//! Which of the four programs this is, and what it cannot run without.

use std::fmt;

/// One of the four programs.
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
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Collector, Self::Writer, Self::Query, Self::Standalone];

    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Collector => "reflow-collector",
            Self::Writer => "reflow-writer",
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
        self != Self::Writer
    }

    /// Whether it is one of several processes with NATS between them.
    pub fn needs_nats(self) -> bool {
        self != Self::Standalone
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}
