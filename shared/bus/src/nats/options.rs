//! Settings of the NATS bus, each with its unit, default and reason.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reflow_tracing_service::config::Config;

use crate::TailLimits;
use crate::error::{BusError, BusErrorKind};

/// Settings of a [`crate::NatsBus`]. Every binary of one installation has to use the same stream settings, for each declares
/// them at start; where two differ, the last to start wins, but no stream is made smaller than what it holds.
#[derive(Clone)]
pub struct NatsOptions {
    /// Addresses, `nats://host:port` or `tls://host:port`, with `user:password@` or `token@` where needed; several are
    /// separated by commas. Never printed.
    pub url: String,
    /// File with root certificates (PEM) for a server with a certificate of its own authority.
    pub root_certificates: Option<PathBuf>,
    /// Name shown in the server's list of connections.
    pub client_name: String,
    /// Size of the chunk stream. 4 GiB: about 25 million events that writers may be behind. A full stream pushes back.
    pub stream_max_bytes: u64,
    /// Size of the dead-letter stream (256 MiB). What is over is refused, nothing is thrown away.
    pub dead_max_bytes: u64,
    /// Replicas of both streams; `None` leaves them as they are (1 when created here).
    pub replicas: Option<usize>,
    /// How long the server remembers chunk ids (2 min). An optimisation only, and it costs the server memory.
    pub duplicate_window: Duration,
    /// A delivery without an answer for so long is delivered again (30 s: longer than a slow commit).
    pub ack_wait: Duration,
    /// Deliveries that all writers together may hold unanswered (10,000).
    pub max_ack_pending: usize,
    /// A publish without an acknowledgement for so long is sent again with the same id (5 s).
    pub publish_timeout: Duration,
    /// Publishes under way at a time (1,024): fills the pipe to the server, bounds what a lost connection has to send again.
    pub max_in_flight: usize,
    /// Bytes of them (32 MiB).
    pub max_in_flight_bytes: usize,
    /// Requests to the JetStream API that take longer fail (5 s).
    pub request_timeout: Duration,
    /// What one live viewer may hold.
    pub tail: TailLimits,
}

impl NatsOptions {
    /// What the configuration says.
    ///
    /// # Errors
    ///
    /// [`BusErrorKind::Setup`] without a url, which the rules of the configuration make sure of.
    pub fn of(config: &Config, client_name: &str) -> Result<Self, BusError> {
        let nats = &config.bus.nats;
        let url = nats.url.as_ref();
        let url = url.ok_or_else(|| BusError::new(BusErrorKind::Setup, "configure", "bus.nats.url is not set"))?;
        Ok(Self {
            client_name: client_name.to_owned(),
            stream_max_bytes: nats.stream_max_bytes,
            dead_max_bytes: nats.dead_max_bytes,
            replicas: Some(nats.replicas.into()),
            duplicate_window: nats.duplicate_window(),
            ack_wait: nats.ack_wait(),
            max_ack_pending: nats.max_ack_pending as usize,
            tail: TailLimits::of(config),
            ..Self::new(url.expose())
        })
    }

    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            root_certificates: None,
            client_name: "reflow-tracing".to_owned(),
            stream_max_bytes: 4 << 30,
            dead_max_bytes: 256 << 20,
            replicas: None,
            duplicate_window: Duration::from_secs(120),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 10_000,
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 1024,
            max_in_flight_bytes: 32 << 20,
            request_timeout: Duration::from_secs(5),
            tail: TailLimits::default(),
        }
    }
}

impl fmt::Debug for NatsOptions {
    /// Without the url, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("client_name", &self.client_name)
            .field("stream_max_bytes", &self.stream_max_bytes)
            .field("dead_max_bytes", &self.dead_max_bytes)
            .field("replicas", &self.replicas)
            .field("ack_wait", &self.ack_wait)
            .finish_non_exhaustive()
    }
}
