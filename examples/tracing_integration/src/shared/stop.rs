//! Ctrl-C and SIGTERM: both mean "come to an end, cleanly", and a second time "at once".

use std::io::{self, Write};

use crate::shared::exit;
use crate::shared::terminal::{DIM, stderr};

/// Returns when somebody wants the program to end. Who wants that again has no time for a clean end: then the program is over.
///
/// # Errors
/// When signals cannot be listened to.
pub async fn wanted() -> io::Result<()> {
    // One listener for both, so that the second is not missed while nobody waits for it.
    let mut signals = Signals::try_new()?;
    signals.next().await?;
    // Without standard error nobody reads it.
    let _ = writeln!(stderr(), "{DIM}coming to an end; ctrl-C once more ends it at once{DIM:#}");
    tokio::spawn(async move {
        if signals.next().await.is_ok() {
            std::process::exit(exit::INTERRUPTED.into());
        }
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn try_new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Ok(())
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn try_new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}
