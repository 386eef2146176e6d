//! Whether Redis can be asked: a circuit breaker with a look-out of its own.
//!
//! Guarantee: after one failure nobody waits for Redis until a task in the background has done there what calls do, as fast as they
//! must. A server that fails again and again shortly after is left alone for ever longer, which bounds what it costs callers, and the log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DirectoryStats;
use super::calls::Calls;
use crate::stats::add;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// While it is away: so soon its return is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Of a server that comes and goes: a call in so long has to wait for the timeout.
const LONGEST_AFTER_FLAPS: Duration = Duration::from_secs(10);
/// Who has answered for so long is well.
const WELL_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Watchman {
    calls: Calls,
    stats: Arc<DirectoryStats>,
    flaps: Arc<Mutex<Flaps>>,
}

/// How often it failed shortly after it had answered again.
#[derive(Debug, Default)]
struct Flaps {
    count: u32,
    back_at: Option<Instant>,
}

impl Flaps {
    /// A call failed; how long to leave the server alone.
    fn failed(&mut self, now: Instant) -> Duration {
        let is_flap = self.back_at.is_some_and(|at| now.duration_since(at) < WELL_AFTER);
        self.count = if is_flap { self.count.saturating_add(1) } else { 0 };
        FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.count)).min(LONGEST_AFTER_FLAPS)
    }

    fn is_back(&mut self, now: Instant) {
        self.back_at = Some(now);
    }
}

impl Watchman {
    pub(super) fn new(calls: Calls, stats: Arc<DirectoryStats>) -> Self {
        Self { calls, stats, flaps: Arc::default() }
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
        let mut pause = lock(&self.flaps).failed(Instant::now());
        tracing::warn!(error, ?pause, "redis cannot be asked, going on with the cache alone");
        // It must not keep a directory alive that nobody uses any more.
        let (calls, stats, flaps) = (self.calls.clone(), Arc::downgrade(&self.stats), Arc::clone(&self.flaps));
        tokio::spawn(async move {
            loop {
                sleep(pause).await;
                pause = pause.max((pause * 2).min(LONGEST_PAUSE));
                let Some(stats) = stats.upgrade() else { return };
                match calls.probe().await {
                    Ok(()) => {
                        lock(&flaps).is_back(Instant::now());
                        stats.degraded.store(false, Ordering::Release);
                        tracing::info!("redis can be asked again");
                        return;
                    }
                    Err(error) => tracing::debug!(error, "redis still cannot be asked"),
                }
            }
        });
    }
}

fn lock(flaps: &Mutex<Flaps>) -> MutexGuard<'_, Flaps> {
    flaps.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_is_left_alone_for_ever_longer_until_it_stays() {
        let (mut flaps, mut now) = (Flaps::default(), Instant::now());
        let mut fails_after = |well: Duration| {
            now += well;
            let pause = flaps.failed(now).as_millis();
            flaps.is_back(now);
            pause
        };
        let moment = Duration::from_millis(50);
        assert_eq!([moment; 9].map(&mut fails_after), [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!([WELL_AFTER, moment].map(&mut fails_after), [100, 200]);
        for _ in 0..1_000 {
            fails_after(moment);
        }
        assert_eq!(fails_after(moment), 10_000);
    }
}
