//! Waiting for something to become true, instead of sleeping and hoping.
//!
//! A test that sleeps is either slow or flaky. [`eventually`] asks again and again, quickly at first, and on a timeout
//! fails with the *last* answer, which says what was still missing.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// The longest a healthy system may take for anything a test waits for, on a busy machine with two cores.
///
/// Generous because it costs nothing when all is well: it is only ever used up by a failure.
#[must_use]
pub const fn patience() -> Duration {
    Duration::from_secs(30)
}

/// Calls `attempt` until it succeeds, and gives its value; after `timeout`, its last error.
///
/// An attempt that hangs is cut off at the end of the timeout.
///
/// # Errors
/// The error of the last attempt, with how long and how often it was tried.
pub async fn eventually<T, F, Fut>(timeout: Duration, mut attempt: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    let mut attempts = 0_u32;
    let mut last = anyhow::anyhow!("no attempt came to an end");
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        attempts += 1;
        match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if started.elapsed() >= timeout {
            return Err(last).with_context(|| format!("not so after {timeout:?} and {attempts} attempts"));
        }
        tokio::time::sleep(pause.min(timeout.saturating_sub(started.elapsed()))).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}
