//! What the configuration means for the libraries: the one place where its keys meet their options.

use std::net::SocketAddr;
use std::time::Duration;

use reflow_tracing_bus::{DirectoryOptions, NatsOptions};
use reflow_tracing_chunk::FlowNaming;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_service::config::{Algorithm, Config};
use reflow_tracing_session::SessionLimits;
use reflow_tracing_store::{PostgresOptions, SqliteOptions};

use crate::history::{HistoryOptions, system_clock};

/// Time of a shutdown that is kept for what comes after the sessions.
const AFTER_SESSIONS: Duration = Duration::from_secs(5);

/// How the bus is reached.
///
/// # Errors
///
/// Without a url, which the rules of the configuration make sure of.
pub fn nats(config: &Config, client_name: &str) -> anyhow::Result<NatsOptions> {
    let nats = &config.bus.nats;
    let url = nats.url.as_ref().ok_or_else(|| anyhow::anyhow!("bus.nats.url is not set"))?;
    Ok(NatsOptions {
        client_name: client_name.to_owned(),
        stream_max_bytes: nats.stream_max_bytes,
        dead_max_bytes: nats.dead_max_bytes,
        replicas: Some(nats.replicas.into()),
        duplicate_window: nats.duplicate_window(),
        ack_wait: nats.ack_wait(),
        max_ack_pending: nats.max_ack_pending as usize,
        ..NatsOptions::new(url.expose())
    })
}

/// What a directory keeps.
pub fn directory(config: &Config) -> DirectoryOptions {
    DirectoryOptions { lifetime: config.redis.trace_ttl(), ..DirectoryOptions::default() }
}

/// How questions are answered.
pub fn history(config: &Config) -> HistoryOptions {
    HistoryOptions { trace_idle: config.retention.trace_idle(), clock: system_clock }
}

/// How an SQLite database is read.
pub fn sqlite(config: &Config) -> SqliteOptions {
    let sqlite = &config.storage.sqlite;
    SqliteOptions {
        cache_size: sqlite.cache_size.into(),
        trace_idle: config.retention.trace_idle(),
        ..SqliteOptions::new(&sqlite.database_path)
    }
}

/// How a PostgreSQL database is reached.
///
/// # Errors
///
/// Without a url, which the rules of the configuration make sure of.
pub fn postgres(config: &Config) -> anyhow::Result<PostgresOptions> {
    let postgres = &config.storage.postgres;
    let url = postgres.connection_url.as_ref();
    let url = url.ok_or_else(|| anyhow::anyhow!("storage.postgres.connection_url is not set"))?;
    Ok(PostgresOptions {
        max_connections: postgres.max_connections,
        min_connections: postgres.min_connections,
        acquire_timeout: postgres.acquire_timeout(),
        trace_idle: config.retention.trace_idle(),
        ..PostgresOptions::new(url.expose())
    })
}

/// What sessions may do.
pub fn sessions(config: &Config, admin_address: Option<SocketAddr>) -> SessionLimits {
    let (limits, defaults) = (&config.limits, SessionLimits::default());
    SessionLimits {
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
        drain_timeout: drain_of_sessions(config),
        tail_buffer_events: limits.tail_buffer_messages,
        request_codec: match config.compression.algorithm {
            Algorithm::Zstd => Codec::Zstd,
            Algorithm::Lz4 => Codec::Lz4,
            Algorithm::Brotli => Codec::Brotli,
            Algorithm::Gzip => Codec::Gzip,
        },
        tenant: config.tenant.clone(),
        flow_naming: FlowNaming { strip_generated_tail: config.flow_name.strip_generated_tail },
        metrics_address: admin_address
            .map_or_else(String::new, |address| format!("http://{address}{}", config.metrics.endpoint)),
        ..defaults
    }
}

/// How long sessions may take to end: most of the shutdown, the rest is for what answers them.
pub fn drain_of_sessions(config: &Config) -> Duration {
    let whole = config.limits.drain_deadline();
    whole.saturating_sub(AFTER_SESSIONS).max(whole / 2)
}
