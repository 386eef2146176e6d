//! What all five programs share: arguments, exit codes, the terminal, and getting a connection.

pub mod connect;
pub mod ending;
pub mod exit;
pub mod names;
pub mod process;
pub mod protocol;
pub mod show;
pub mod stop;
pub mod terminal;

use std::time::Duration;

/// How often [`eventually`] looks.
const STEP: Duration = Duration::from_millis(5);

/// Waits until something is true, at most so long. Returns whether it is.
pub async fn eventually(patience: Duration, holds: impl Fn() -> bool) -> bool {
    let wait = async {
        while !holds() {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::time::timeout(patience, wait).await.is_ok()
}
