//! SIGTERM and SIGINT as something to wait for.
//!
//! A test makes its own with [`Signals::by_hand`]: a signal to the test process would hit every test in it.

use std::io;

use tokio::sync::mpsc;

/// The signals that ask for a stop, in the order in which they came.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<&'static str>);

impl Signals {
    /// Takes over SIGTERM and SIGINT of this process, for as long as the process lives. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, signals) = Self::by_hand();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                // Two are all that matter; a third finds the channel full and changes nothing.
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(name) {
                    return;
                }
            }
        });
        Ok(signals)
    }

    /// Signals that come from a channel.
    pub fn by_hand() -> (mpsc::Sender<&'static str>, Self) {
        let (sender, receiver) = mpsc::channel(2);
        (sender, Self(receiver))
    }

    /// The next signal's name. Never resolves once there can be no more.
    pub async fn recv(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}
