//! What lies between collectors and writers, and what collectors share.

use std::time::Duration;

use super::super::{
    keys::{choice, section},
    secret::Secret,
};

choice! {
    /// What carries chunks from sessions to the writer.
    pub enum BusKind {
        /// Bounded channels inside one process.
        Local = "local",
        /// NATS JetStream.
        Nats = "nats",
    }
}

section! {
    /// What lies between collectors and writers.
    pub struct Bus at "bus." {
        /// What carries chunks from sessions to the writer. A `bus.nats.url` selects `nats`.
        kind: BusKind = BusKind::Local;
        because "one process needs no server between its parts"
        sections {
            /// For `nats`.
            nats: Nats,
        }
    }
}

section! {
    /// NATS JetStream. The first service to start declares the streams with these settings.
    pub struct Nats at "bus.nats." {
        /// URL of the server, or several with commas between: `nats://user:password@host:4222`. It selects the bus.
        url: Option<Secret> = None;
        because "there is no server to assume"
        /// Size of the stream `REFLOW_CHUNKS`, in bytes. When it is full, sessions wait and clients are pushed back. A
        /// smaller one takes effect at a start that finds at most half of it in the stream.
        stream_max_bytes: u64 = 1_073_741_824, in 1_048_576..=1_125_899_906_842_624;
        because "1 GiB is some ten million events while writers are away, and fits beside anything on a small server"
        /// Size of the dead-letter stream `REFLOW_DEAD`, in bytes. When it is full, what cannot be stored stays in the
        /// main stream. A smaller one takes effect as that of `REFLOW_CHUNKS` does.
        dead_max_bytes: u64 = 268_435_456, in 1_048_576..=1_125_899_906_842_624;
        because "dead letters are few, and 256 MiB show what is wrong with them"
        /// Copies of the streams in a NATS cluster. 3 make an ack survive the power loss of one server.
        replicas: u8 = 1, in 1..=5;
        because "a single server can hold only one"
        /// How long a writer may hold a message, in seconds, before another one gets it.
        ack_wait_secs: u64 = 30, in 1..=3_600;
        because "a commit takes milliseconds, and a pause beyond it costs only a delivery more"
        /// Messages that all writers together may hold without having acked them.
        max_ack_pending: u32 = 10_000, in 1..=1_000_000;
        because "it is some hundred group commits, enough for many writers"
        /// How long a message waits, in milliseconds, before it comes again when the store could not take it.
        nak_delay_ms: u64 = 1_000, in 1..=600_000;
        because "an outage is then asked about once a second, and its end is seen within one"
        /// How often a message may fail while others succeed, before it goes to the dead letters.
        max_deliveries: u32 = 20, in 2..=10_000;
        because "an outage of the store never counts, so that 20 failures are the message's own"
        /// How long the stream remembers chunk ids to drop repeated publishes, in seconds.
        duplicate_window_secs: u64 = 120, in 1..=86_400;
        because "clients resend within seconds, and what it forgets the store still knows"
    }
}

section! {
    /// Redis, which holds what stateless collectors and query services share. Without it each keeps its own. The others do not use it.
    pub struct Redis at "redis." {
        /// URL of the server, `redis://user:password@host:6379/0`. Unset: an in-process cache.
        url: Option<Secret> = None;
        because "it is an optimisation that one collector does not need"
        /// How long the flow of a trace is remembered after its last use, in seconds.
        trace_ttl_secs: u64 = 86_400, in 60..=31_536_000;
        because "hardly a trace pauses for longer than a day"
        /// How long one command may take, in milliseconds, before the in-process cache answers instead.
        timeout_ms: u64 = 100, in 1..=60_000;
        because "a batch shall not wait for an optimisation"
    }
}

impl Nats {
    /// How long a writer may hold a message.
    pub fn ack_wait(&self) -> Duration {
        Duration::from_secs(self.ack_wait_secs)
    }

    /// How long a refused message waits.
    pub fn nak_delay(&self) -> Duration {
        Duration::from_millis(self.nak_delay_ms)
    }

    /// How long chunk ids are remembered by the stream.
    pub fn duplicate_window(&self) -> Duration {
        Duration::from_secs(self.duplicate_window_secs)
    }
}

impl Redis {
    /// How long the flow of a trace is remembered.
    pub fn trace_ttl(&self) -> Duration {
        Duration::from_secs(self.trace_ttl_secs)
    }

    /// How long one command may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
