//! Everything recorded is delivered: now, or once and for all.

use std::time::Duration;

use tokio::sync::oneshot;

use super::record::is_end;
use super::{TracingClient, deadline};
use crate::ExecutionStatus;
use crate::client::mailbox::{Asked, Command};
use crate::client::shared::lock;
use crate::client::undelivered::{Outcome, PANICKED, Undelivered};
use crate::client::{Result, TracingError, transport};

/// How long dropping the last handle may take when there is something to deliver.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

impl TracingClient {
    /// Waits until everything recorded so far is acked, at most 10 s ([`Settings::flush_timeout`](crate::client::Settings::flush_timeout)).
    ///
    /// # Errors
    /// [`TracingError::Timeout`] when something was not, [`TracingError::WebSocketError`] when something was lost for good since the last
    /// flush; [`flush_within`](Self::flush_within) says what.
    pub async fn flush(&self) -> Result<()> {
        self.flush_within(self.shared.settings.flush_timeout).await.map_err(|undelivered| told(&undelivered))
    }

    /// Waits until everything recorded so far is settled, at most `timeout`. `Ok`: all of it is stored, and nothing was lost since
    /// the last flush.
    ///
    /// # Errors
    /// What was not acked in time, which stays where it is and is sent on; and apart from it what was dropped or refused for good since
    /// the last flush.
    pub async fn flush_within(&self, timeout: Duration) -> Outcome {
        if !self.is_enabled() {
            return Ok(());
        }
        self.asked(timeout, Command::Flush).await
    }

    /// Ends the traces that this client has begun and not ended (as failed, if an actor of theirs failed), delivers everything
    /// recorded so far, at most for 10 s ([`Settings::flush_timeout`](crate::client::Settings::flush_timeout)), and disconnects. What is recorded afterwards is dropped, until
    /// the next `connect`.
    ///
    /// # Errors
    /// [`TracingError::Timeout`] when something was not delivered, [`TracingError::WebSocketError`] when something was lost for good
    /// since the last flush; [`shutdown_within`](Self::shutdown_within) says what.
    pub async fn shutdown(&self) -> Result<()> {
        self.shutdown_within(self.shared.settings.flush_timeout).await.map_err(|undelivered| told(&undelivered))
    }

    /// [`shutdown`](Self::shutdown) within `timeout`. Of two at once each is answered within its own; the client ends with the later.
    ///
    /// # Errors
    /// What was not acked in time: what of it is in the spool is sent at the next start, the rest is lost. Apart from it what was
    /// dropped or refused for good since the last flush.
    pub async fn shutdown_within(&self, timeout: Duration) -> Outcome {
        self.end_within(timeout, None).await
    }

    /// [`shutdown_within`](Self::shutdown_within), which ends the [current](Self::current_trace_id) trace with this status and not by its own
    /// events. For a program whose other tasks may still record: they can do so until this call and no longer, whereas between an
    /// [`end_trace`](Self::end_trace) and a shutdown they would begin another trace. `Pending` and `Running` are no ends: then its events
    /// tell how it ended.
    ///
    /// # Errors
    /// As [`shutdown_within`](Self::shutdown_within).
    pub async fn shutdown_as(&self, status: ExecutionStatus, timeout: Duration) -> Outcome {
        self.end_within(timeout, Some(status).filter(is_end)).await
    }

    async fn end_within(&self, timeout: Duration, status: Option<ExecutionStatus>) -> Outcome {
        if !self.is_enabled() {
            return Ok(());
        }
        self.shared.set_closed(true);
        let ran = self.shared.mailbox.is_open();
        let own = self.own.get();
        let outcome = self.asked(timeout, |asked| Command::Shutdown(asked, status.map(|status| (own, status)))).await;
        if ran && !self.shared.mailbox.is_open() {
            lock(&self.background).take();
            self.own.reset();
        }
        outcome
    }

    /// What was delivered, by the background, or by what is known where there is none.
    async fn asked(&self, timeout: Duration, command: impl FnOnce(Asked) -> Command) -> Outcome {
        let since = self.shared.told();
        let (reply, answer) = oneshot::channel();
        if !self.shared.command(command(Asked { deadline: deadline(timeout), since, reply: Some(reply) })) {
            return self.shared.outcome(&since, Undelivered::default());
        }
        let silent = || Undelivered { reason: PANICKED.to_owned(), ..Undelivered::default() };
        answer.await.unwrap_or_else(|_| Err(silent()))
    }
}

impl Drop for TracingClient {
    fn drop(&mut self) {
        let Some(background) = lock(&self.background).take() else { return };
        self.shared.set_closed(true);
        let since = self.shared.told();
        let asked = Asked { deadline: deadline(DROP_PATIENCE), since, reply: None };
        self.shared.command(Command::Shutdown(asked, None));
        // Without a connection there is nothing to wait for but the spool, which is quick.
        transport::join(&background, DROP_PATIENCE + DROP_PATIENCE / 5);
    }
}

/// As well as the published errors can say it.
fn told(undelivered: &Undelivered) -> TracingError {
    tracing::warn!(%undelivered, "not everything was delivered");
    if undelivered.waits() { TracingError::Timeout } else { TracingError::WebSocketError(undelivered.to_string()) }
}
