//! What the directory asks of Redis.
//!
//! Guarantee: a call takes no longer than the timeout, with all that it waits for. Keys are `reflow:trace:<tenant>:<id>`, values JSON.

use std::time::Duration;

use deadpool_redis::redis::{RedisError, pipe};
use deadpool_redis::{Config, Pool, PoolConfig, PoolError, Runtime, Timeouts};
use tokio::time::timeout;

use super::{Key, RedisOptions};
use crate::error::{BusError, BusErrorKind};

/// A first connection may take longer than a call: a slow set-up must not keep a healthy server out.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Written and read to see whether Redis does what it is for. No tenant is called `_`, and who may write traces may write this.
const PROBE: &str = "reflow:trace:_:probe";

#[derive(Clone)]
pub(super) struct Calls {
    pool: Pool,
    timeout: Duration,
    lifetime_secs: u64,
}

impl Calls {
    pub(super) fn try_new(options: &RedisOptions) -> Result<Self, BusError> {
        let mut config = Config::from_url(options.url.as_str());
        let wait = Some(options.timeout);
        let timeouts = Timeouts { wait, create: None, recycle: wait };
        config.pool = Some(PoolConfig { timeouts, ..PoolConfig::new(options.max_connections.max(1)) });
        // The parser's message may repeat the url, and with it a password.
        let pool = config.create_pool(Some(Runtime::Tokio1)).map_err(|_| {
            let reason = "the url is not redis://[user:password@]host:port[/db]";
            BusError::new(BusErrorKind::Setup, "open redis directory", reason)
        })?;
        Ok(Self { pool, timeout: options.timeout, lifetime_secs: options.directory.lifetime.as_secs().max(1) })
    }

    pub(super) async fn set(&self, name: &str, value: String) -> Result<(), String> {
        self.in_time(async {
            let mut connection = self.pool.get().await?;
            let mut set = pipe();
            set.set_ex(name, value, self.lifetime_secs).ignore();
            set.query_async::<()>(&mut connection).await.map_err(backend)
        })
        .await
    }

    pub(super) async fn fetch(&self, name: &str) -> Result<Option<String>, String> {
        self.in_time(async {
            let mut connection = self.pool.get().await?;
            // Looked up is used: it lives on. (GETEX would need Redis 6.2.)
            let mut found = pipe();
            found.get(name).expire(name, self.lifetime_secs as i64).ignore();
            let (value,) = found.query_async::<(Option<String>,)>(&mut connection).await.map_err(backend)?;
            Ok(value)
        })
        .await
    }

    /// Whether calls succeed: one that only answers, but takes no writes, or answers too late, would fail them all.
    pub(super) async fn probe(&self) -> Result<(), String> {
        // It goes back to the pool, for those that follow.
        timeout(CONNECT_TIMEOUT, self.pool.get()).await.map_err(too_late)?.map_err(|error| error.to_string())?;
        self.set(PROBE, String::new()).await?;
        self.fetch(PROBE).await.map(drop)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, PoolError>>) -> Result<T, String> {
        timeout(self.timeout, call).await.map_err(too_late)?.map_err(|error| error.to_string())
    }
}

pub(super) fn name_of((tenant, trace_id): &Key) -> String {
    format!("reflow:trace:{tenant}:{trace_id}")
}

fn backend(error: RedisError) -> PoolError {
    PoolError::Backend(error)
}

fn too_late(_: tokio::time::error::Elapsed) -> String {
    "no answer in time".to_owned()
}
