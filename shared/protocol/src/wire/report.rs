//! What a client has done since its last report, told to the server that asked for it (v2).
//!
//! Figures are increments, so that a server can add up the reports of any number of clients, over reconnects and beside other servers,
//! without knowing which clients there are. A report that is lost with its connection is not made up for: these figures watch the clients, they account
//! for nothing. What is missing in a trace is told by the batches themselves.

use serde::{Deserialize, Serialize};

/// Increments since the client's last report. What a client does not count is missing, and read as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientReport {
    /// The client's id for itself.
    pub client_id: String,
    /// Events recorded, dropped ones included.
    pub events_recorded: u64,
    /// Events acked.
    pub events_acked: u64,
    /// Events that the server has refused, one by one.
    pub events_rejected: u64,
    /// Events that sampling left out on purpose; not among those recorded.
    pub events_sampled_out: u64,
    /// Events dropped because the buffer was full.
    pub dropped_buffer_full: u64,
    /// Events dropped because the spool was full or could not be written.
    pub dropped_spool: u64,
    /// Events dropped because one alone was larger than the server takes.
    pub dropped_too_large: u64,
    /// Events dropped because their batch was refused for good.
    pub dropped_refused: u64,
    /// Events dropped because the client was shut down.
    pub dropped_closed: u64,
    /// Events dropped because they could not be written as JSON.
    pub dropped_unwritable: u64,
    /// Batches sent, again included.
    pub batches_sent: u64,
    /// Of these, sent again.
    pub batches_resent: u64,
    /// Batches acked.
    pub batches_acked: u64,
    /// Bytes of events as JSON, before compression.
    pub bytes_before_compression: u64,
    /// The same after.
    pub bytes_after_compression: u64,
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// Errors that servers answered.
    pub server_errors: u64,
    /// Sum of the times from sending a batch to its ack, µs.
    pub ack_latency_sum_us: u64,
    /// Acks that have a time.
    pub ack_latency_count: u64,
}
