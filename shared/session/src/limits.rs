//! What a session may do. Each limit is refused with an error that names it.

use std::net::SocketAddr;
use std::time::Duration;

use reflow_tracing_chunk::FlowNaming;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{Limits, SamplingRule};
use reflow_tracing_service::config::{Algorithm, Config};

/// Time of a shutdown that is kept for what comes after the sessions: the bus's last acks, the writer's last commit.
const AFTER_SESSIONS: Duration = Duration::from_secs(5);

/// Limits and settings of all sessions of a process.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Connections at once; more are refused with 503.
    pub max_connections: usize,
    /// Largest frame, and largest message of several frames, bytes.
    pub max_frame_bytes: usize,
    /// Largest decompressed frame, bytes.
    pub max_decompressed_bytes: usize,
    /// Events a batch.
    pub max_batch_events: usize,
    /// Compressed payload of a chunk, bytes: what the bus takes in one message, less the header.
    pub max_chunk_bytes: usize,
    /// Traces a session may have open.
    pub max_open_traces: usize,
    /// Chunks of a session that may wait to be durable.
    pub max_chunks_in_flight: usize,
    /// Subscriptions a session.
    pub max_subscriptions: usize,
    /// One byte budget for all sessions: taken before a frame is read, given back when its chunk is durable.
    pub byte_budget: usize,
    /// Largest answer in v1 (a published client refuses larger messages), bytes.
    pub max_answer_bytes: usize,
    /// A session that sent nothing for so long, not even a pong, is closed.
    pub idle_timeout: Duration,
    /// Pings are sent so often.
    pub ping_interval: Duration,
    /// A peer that does not take an answer for so long is closed.
    pub write_timeout: Duration,
    /// An answer from history may hold back the answers behind it for so long.
    pub history_timeout: Duration,
    /// Handshakes must be done within.
    pub handshake_timeout: Duration,
    /// On drain, answers may take so long.
    pub drain_timeout: Duration,
    /// Read buffer of a connection, bytes: nearly all that an idle one keeps. Larger frames get a buffer of their size.
    pub read_buffer_bytes: usize,
    /// How chunks that the server builds are compressed.
    pub codec: Codec,
    /// At which level.
    pub level: i32,
    /// Codec of compressed requests without a magic number.
    pub request_codec: Codec,
    /// Tenant of every session.
    pub tenant: String,
    /// How flow ids become flow names.
    pub flow_naming: FlowNaming,
    /// How the metrics address is told on the page at `/`.
    pub metrics_address: String,
    /// Sent to every v2 session: what clients leave out of what they record.
    pub sampling: Vec<SamplingRule>,
    /// v2 sessions that have recorded are asked for their client's own figures so often; `None`: never.
    pub report_interval: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_frame_bytes: 16 << 20,
            max_decompressed_bytes: 64 << 20,
            max_batch_events: 10_000,
            max_chunk_bytes: 900 << 10,
            max_open_traces: 1_024,
            max_chunks_in_flight: 32,
            max_subscriptions: 16,
            byte_budget: 64 << 20,
            max_answer_bytes: 64 << 20,
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            history_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
            read_buffer_bytes: 8 << 10,
            codec: Codec::Zstd,
            level: 1,
            request_codec: Codec::Zstd,
            tenant: "default".to_owned(),
            flow_naming: FlowNaming::default(),
            metrics_address: String::new(),
            sampling: Vec::new(),
            report_interval: None,
        }
    }
}

impl SessionLimits {
    /// What the configuration says. `admin` is where the admin port really is, for the page at `/`.
    pub fn of(config: &Config, admin: Option<SocketAddr>) -> Self {
        let (limits, compression) = (&config.limits, &config.compression);
        let algorithm = match compression.algorithm {
            Algorithm::Zstd => Codec::Zstd,
            Algorithm::Lz4 => Codec::Lz4,
            Algorithm::Brotli => Codec::Brotli,
            Algorithm::Gzip => Codec::Gzip,
        };
        let drain = limits.drain_deadline();
        Self {
            max_connections: config.server.max_connections,
            max_frame_bytes: limits.max_frame_bytes,
            max_decompressed_bytes: limits.max_decompressed_bytes,
            max_batch_events: limits.max_batch_events,
            max_chunk_bytes: limits.max_chunk_bytes,
            max_open_traces: limits.max_open_traces,
            max_chunks_in_flight: limits.max_chunks_in_flight,
            max_subscriptions: limits.max_subscriptions,
            byte_budget: limits.byte_budget_bytes,
            idle_timeout: limits.idle_timeout(),
            ping_interval: limits.ping_interval(),
            write_timeout: limits.write_timeout(),
            history_timeout: limits.history_timeout(),
            drain_timeout: drain.saturating_sub(AFTER_SESSIONS).max(drain / 2),
            read_buffer_bytes: config.server.websocket_buffer_size,
            codec: if compression.enabled { algorithm } else { Codec::None },
            level: compression.level,
            request_codec: algorithm,
            tenant: config.tenant.clone(),
            flow_naming: FlowNaming { strip_generated_tail: config.flow_name.strip_generated_tail },
            metrics_address: admin
                .map_or_else(String::new, |admin| format!("http://{admin}{}", config.metrics.endpoint)),
            sampling: config.clients.sampling.rules().to_vec(),
            report_interval: config.clients.report_interval(),
            ..Self::default()
        }
    }

    /// How often a session looks whether one of its timeouts has passed: they are met to a quarter.
    pub(crate) fn look_interval(&self) -> Duration {
        self.ping_interval.min(self.idle_timeout / 4).min(self.write_timeout / 4).max(Duration::from_millis(1))
    }

    /// What the handshake announces.
    pub fn announced(&self) -> Limits {
        Limits {
            max_frame_bytes: self.max_frame_bytes,
            max_decompressed_bytes: self.max_decompressed_bytes,
            max_batch_events: self.max_batch_events,
            max_chunk_bytes: self.max_chunk_bytes,
            max_chunks_in_flight: self.max_chunks_in_flight,
            max_subscriptions: self.max_subscriptions,
        }
    }
}
