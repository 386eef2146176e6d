//! How a PostgreSQL store is connected to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use crate::{Limits, StoreError, StoreErrorKind};

/// A connection that worked a moment ago is not asked whether it still does. When it does not, one question fails as it would have,
/// had it come that moment earlier.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// A connection that says nothing for so long is not coming back: its packets go where nobody is, as after a firewall forgot it.
/// Waiting for the operating system to notice takes a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(1);

/// Where the database is and how many connections it may have.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`. Never printed.
    pub connection_url: String,
    /// Connections at most. Default 10.
    pub max_connections: u32,
    /// Connections kept open. Default 1.
    pub min_connections: u32,
    /// How long to wait for a connection. Default 30 s.
    pub acquire_timeout: Duration,
    /// How long a commit may take before its connection is given up. Default 60 s. A redelivery finds out what became of it.
    pub commit_timeout: Duration,
    /// Idle time after which a trace counts as ended, in answers to questions that bring none. Default 15 minutes.
    pub trace_idle: Duration,
    /// Cardinality limits.
    pub limits: Limits,
}

impl PostgresOptions {
    /// Defaults for a database.
    pub fn new(connection_url: impl Into<String>) -> Self {
        Self {
            connection_url: connection_url.into(),
            max_connections: 10,
            min_connections: 1,
            acquire_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(60),
            trace_idle: Duration::from_secs(15 * 60),
            limits: Limits::default(),
        }
    }

    pub(super) fn trace_idle_us(&self) -> i64 {
        i64::try_from(self.trace_idle.as_micros()).unwrap_or(i64::MAX)
    }

    pub(super) fn connect(&self, role: &str) -> Result<PgConnectOptions, StoreError> {
        let options = PgConnectOptions::from_str(&self.connection_url).map_err(|error| {
            // The parser's own text may quote parts of the url, and the url holds a password.
            let _ = error;
            let reason = "not a url such as postgres://user:password@host:port/database";
            StoreError::new(StoreErrorKind::Unavailable, "reading the connection url", reason)
        })?;
        let settings = [
            // Statements here are short: compiling one takes longer than running it.
            ("jit", "off"),
            // A reader's statements are planned once and for all where that costs nothing: planning takes several times as long as
            // looking up a trace, the more so the more days there are. How frequent an actor is stands in its statement's text.
            ("plan_cache_mode", "auto"),
            // Such a plan was made while tomorrow's partition was empty, and reading an empty one whole looks cheap.
            ("enable_seqscan", if role == "reader" { "off" } else { "on" }),
            // Questions are answered from indexes, which are in memory where it matters; and many small ones at once gain nothing from
            // workers that each of them would start.
            ("random_page_cost", "1.1"),
            ("max_parallel_workers_per_gather", "0"),
            // A writer that hangs in the middle must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", "60s"),
            // Whoever asked has given up by then. Migration, compaction and retention take the time they take.
            ("statement_timeout", if role == "reader" { "60s" } else { "0" }),
        ];
        Ok(options
            .application_name(&format!("reflow-tracing-{role}"))
            .options(settings)
            .statement_cache_capacity(256)
            .disable_statement_logging())
    }

    /// A connection that is no pool's. Waits for a server that is starting as long as a pool would.
    pub(super) async fn connect_alone(&self, connect: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.acquire_timeout);
        Ok(pool.connect_with(connect).await?.acquire().await?.detach())
    }

    pub(super) fn pool(&self) -> PgPoolOptions {
        PgPoolOptions::new()
            // Asking a connection whether it lives costs as long as a question does: only those that lay idle are asked.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < TRUSTED_IDLE || is_alive(connection).await) })
            })
            .max_connections(self.max_connections.max(1))
            .min_connections(self.min_connections.min(self.max_connections.max(1)))
            .acquire_timeout(self.acquire_timeout)
    }
}

/// Whether the server answers on a connection. One that does not must not be used again: the answer may come yet.
pub(super) async fn is_alive(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(SILENCE, connection.ping()).await, Ok(Ok(())))
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("connection_url", &"…")
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("commit_timeout", &self.commit_timeout)
            .field("trace_idle", &self.trace_idle)
            .field("limits", &self.limits)
            .finish()
    }
}
