//! The protocol that a server speaks, and what a program has to say where that is v1 alone.
//!
//! Every server of this project speaks v2. The published one speaks v1: it passes live events on, and keeps traces that were sent
//! whole, but nothing of what comes event by event; it counts no events, knows no pages of a list, and serves no page for people.

use std::io::{self, Write};

use reflow_tracing_protocol::client::TracingClient;

use crate::shared::terminal::WARN;

/// A generation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What the published server speaks.
    V1,
    /// Ours.
    V2,
}

impl Protocol {
    /// What a connected client and its server have agreed on. Only v2 announces limits.
    pub fn of(client: &TracingClient) -> Self {
        if client.server_limits().is_some() { Self::V2 } else { Self::V1 }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// Says what this server cannot do, on v1.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn caveat(self, out: &mut impl Write, what: &str) -> io::Result<()> {
        match self {
            Self::V1 => writeln!(out, "{WARN}this server speaks protocol v1 alone: {what}{WARN:#}"),
            Self::V2 => Ok(()),
        }
    }
}
