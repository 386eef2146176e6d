//! Whether Redis can be asked: a circuit breaker with a look-out of its own.
//!
//! Guarantee: after one failure nobody waits for Redis until a task in the background has got an answer from it. The task may
//! take longer for a connection than a call may, so that a slow connection set-up does not keep a healthy server out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_redis::{Pool, redis::cmd};
use tokio::time::{sleep, timeout};

use super::DirectoryStats;
use crate::stats::add;

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Watchman {
    pool: Pool,
    stats: Arc<DirectoryStats>,
}

impl Watchman {
    pub(super) fn new(pool: Pool, stats: Arc<DirectoryStats>) -> Self {
        Self { pool, stats }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.stats.degraded.load(Ordering::Acquire)
    }

    /// A call failed: the first to say so starts the look-out.
    pub(super) fn failed(&self, error: &str) {
        add(&self.stats.errors, 1);
        if self.stats.degraded.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(error, "redis cannot be asked, going on with the cache alone");
        // It must not keep a directory alive that nobody uses any more.
        let (pool, stats) = (self.pool.clone(), Arc::downgrade(&self.stats));
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let Some(stats) = stats.upgrade() else { return };
                if answers(&pool).await {
                    stats.degraded.store(false, Ordering::Release);
                    tracing::info!("redis answers again");
                    return;
                }
            }
        });
    }
}

async fn answers(pool: &Pool) -> bool {
    let asking = async {
        let mut connection = pool.get().await.ok()?;
        cmd("PING").query_async::<String>(&mut connection).await.ok()
    };
    timeout(PROBE_TIMEOUT, asking).await.ok().flatten().is_some()
}
