//! The server's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, µs since the epoch.
pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
