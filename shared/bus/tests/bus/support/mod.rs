//! Real servers on free ports in temporary folders, and chunks to send. Servers die with their handle, and with the test
//! process even when that is killed.

pub mod chunks;
mod process;
mod proxy;
mod servers;

pub use proxy::Proxy;
pub use servers::{NatsServer, RedisServer};

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at all, on a busy machine, too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `check` gives something.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "did not come about within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The future's value, or a panic when it takes longer than anything should.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not come about within {PATIENCE:?}: {what}"),
    }
}
