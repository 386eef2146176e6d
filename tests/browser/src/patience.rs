//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::Duration;

use crate::javascript::sleep;

/// The longest anything here may take on a busy machine; used up only by a failure.
#[must_use]
pub const fn patience() -> Duration {
    Duration::from_secs(30)
}

/// Calls `attempt` until it succeeds, and gives its value.
///
/// # Panics
/// With the last error, when it does not succeed for a long time.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    const PAUSE_MS: i32 = 20;
    let started = js_sys::Date::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                let waited = Duration::from_millis((js_sys::Date::now() - started) as u64);
                assert!(waited < patience(), "{what} did not come true within {waited:?}: {error}");
                sleep(PAUSE_MS).await;
            }
        }
    }
}
