//! Bounds on what clients may ask for. Each is refused with an error that names it.

use std::time::Duration;

use super::super::keys::section;

section! {
    /// Bounds on what clients may ask for.
    pub struct Limits at "limits." {
        /// Largest frame a client may send, in bytes, as it is on the wire.
        max_frame_bytes: usize = 16_777_216, in 1_024..=67_108_864;
        because "published clients and servers refuse larger frames"
        /// Largest frame after decompression, in bytes; checked while decompressing.
        max_decompressed_bytes: usize = 67_108_864, in 1_024..=1_073_741_824;
        because "it is the largest message that published clients read"
        /// Events that one batch may hold; a larger one is refused and the client splits it.
        max_batch_events: usize = 10_000, in 1..=1_000_000;
        because "a batch is one chunk, and a chunk of more events is too large for the bus"
        /// Largest chunk on the bus, header and payload, in bytes. A larger batch is refused and the client splits it.
        max_chunk_bytes: usize = 921_600, in 4_096..=983_040;
        because "NATS takes messages of 1 MiB by default, its headers included, and 900 KiB leave room for them"
        /// Traces that one session may have open at once. Published clients cannot end one: over it, the oldest that was not
        /// started by id is closed.
        max_open_traces: usize = 1_000, in 1..=1_000_000;
        because "a program runs a few networks at once, and what a session holds shall stay small"
        /// Chunks that one session may have published and not yet acked. At the limit the session stops reading.
        max_chunks_in_flight: usize = 64, in 1..=65_536;
        because "at some milliseconds an ack it keeps a session busy and a crash short"
        /// Live subscriptions of one session.
        max_subscriptions: usize = 16, in 1..=10_000;
        because "it is more than a page of live views shows"
        /// Bytes of frames that all sessions together may hold, as they came. At the limit they wait.
        byte_budget_bytes: usize = 67_108_864, in 1_048_576..=1_099_511_627_776_u64;
        because "a collector shall stay within 128 MiB, and this is half of it"
        /// Live events that wait for one slow viewer, in messages. Beyond it the viewer is told how many it missed.
        tail_buffer_messages: usize = 1_024, in 1..=1_048_576;
        because "it bridges a pause of about a second, and memory stays bounded"
        /// How long a session may be silent, in seconds, before it is closed. An answer to a ping counts.
        idle_timeout_secs: u64 = 300, in 1..=86_400;
        because "a program may compute for minutes between two events, and a dead peer shall not hold a connection for long"
        /// Time between two pings, in seconds.
        ping_interval_secs: u64 = 30, in 1..=3_600;
        because "proxies close connections that are silent for a minute"
        /// How long a peer may take to read what was written to it, in seconds, before it is closed.
        write_timeout_secs: u64 = 30, in 1..=3_600;
        because "a peer that has read nothing for half a minute is gone or stuck"
        /// How long a history question may take, in seconds. After it an error stands in its place.
        history_timeout_secs: u64 = 30, in 1..=3_600;
        because "answers come in order, so a slow question holds back the acks behind it"
        /// How long a shutdown may take, in seconds. After it what is left is cut off and the exit code is 3.
        drain_deadline_secs: u64 = 25, in 1..=3_600;
        because "Kubernetes kills after 30"
    }
}

impl Limits {
    /// How long a session may be silent.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_secs)
    }

    /// Time between two pings.
    pub fn ping_interval(&self) -> Duration {
        Duration::from_secs(self.ping_interval_secs)
    }

    /// How long a peer may take to read.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_secs)
    }

    /// How long a history question may take.
    pub fn history_timeout(&self) -> Duration {
        Duration::from_secs(self.history_timeout_secs)
    }

    /// How long a shutdown may take.
    pub fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.drain_deadline_secs)
    }
}
