//! The configuration of the published crate, field for field and default for default.
//!
//! None of its types is `non_exhaustive`, so nothing can be added: whatever has no field here is in [`super::Settings`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Configuration of a [`super::TracingClient`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TracingConfig {
    /// WebSocket url of the server, such as `ws://localhost:8080`; several, separated by commas, are tried in turn.
    pub server_url: String,
    /// Most events a batch. 1, the default, means "do not wait": whatever gathered while the last batch was on its way goes as
    /// one.
    pub batch_size: usize,
    /// How long a batch may wait until it is full.
    pub batch_timeout: Duration,
    /// Whether batches are compressed.
    pub enable_compression: bool,
    /// How a lost connection is tried again.
    pub retry_config: RetryConfig,
    /// Whether anything is traced at all. If not, every call succeeds and does nothing.
    pub enabled: bool,
}

/// How a lost connection is tried again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryConfig {
    /// After so many attempts in a row without success the client warns and says `Disconnected` instead of `Reconnecting`. It
    /// goes on trying, every `max_delay`: what waits in the buffer is not given up.
    pub max_retries: usize,
    /// Before the first attempt.
    pub initial_delay: Duration,
    /// Delays grow up to here.
    pub max_delay: Duration,
    /// By this factor an attempt. Each delay is shortened at random by up to a half, so that a thousand programs that lost the same
    /// server do not come back in the same moment.
    pub backoff_multiplier: f64,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            server_url: "ws://localhost:8080".to_string(),
            batch_size: 1,
            batch_timeout: Duration::from_millis(100),
            enable_compression: true,
            retry_config: RetryConfig {
                max_retries: 5,
                initial_delay: Duration::from_millis(1000),
                max_delay: Duration::from_secs(30),
                backoff_multiplier: 2.0,
            },
            enabled: true,
        }
    }
}

impl RetryConfig {
    /// The delay before attempt `attempt` (from 0), where `random` is within 0..1.
    pub(crate) fn delay(&self, attempt: usize, random: f64) -> Duration {
        let factor = if self.backoff_multiplier >= 1.0 { self.backoff_multiplier } else { 1.0 };
        let grown = self.initial_delay.as_secs_f64() * factor.powi(i32::try_from(attempt).unwrap_or(i32::MAX));
        let delay = grown.min(self.max_delay.as_secs_f64());
        // An attempt without any delay would be a busy loop where a connection is refused at once.
        Duration::try_from_secs_f64(delay * (1.0 - random / 2.0))
            .unwrap_or(self.max_delay)
            .max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_are_spread() {
        let retry = TracingConfig::default().retry_config;
        let delays: Vec<_> = (0..7).map(|attempt| retry.delay(attempt, 0.0).as_millis()).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(retry.delay(0, 1.0), Duration::from_millis(500));
        assert_eq!(retry.delay(usize::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn nonsense_never_panics_and_never_spins() {
        for backoff_multiplier in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let retry = RetryConfig {
                max_retries: 0,
                initial_delay: Duration::ZERO,
                max_delay: Duration::MAX,
                backoff_multiplier,
            };
            for attempt in [0, 1, 1_000] {
                assert!(retry.delay(attempt, 0.5) >= Duration::from_millis(1));
            }
        }
    }
}
