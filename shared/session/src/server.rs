//! Accepts connections on a bound listener, until told to stop; then drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capabilities::{Capabilities, Shared};
use crate::handshake;
use crate::limits::SessionLimits;
use crate::metrics::SessionMetrics;

/// How often figures that nobody reports by themselves are taken.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// After a failed accept (no file descriptors left), so long is waited before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the protocol on one listener.
pub struct Server {
    shared: Arc<Shared>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Sessions that were cut off because they were not done within `drain_timeout`.
    pub sessions_cut: usize,
}

impl Server {
    /// A server with the capabilities of its service.
    pub fn new(capabilities: Capabilities, limits: SessionLimits, metrics: SessionMetrics) -> Self {
        Self { shared: Arc::new(Shared::new(capabilities, limits, metrics)) }
    }

    /// Serves until `stop`; then takes no more connections, answers every frame that has arrived, closes with 1001, and returns when
    /// all sessions have ended or `drain_timeout` has passed.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> DrainOutcome {
        let shared = self.shared;
        let room = Arc::new(Semaphore::new(shared.limits.max_connections));
        let sessions = TaskTracker::new();
        let cut = CancellationToken::new();
        let mut samples = tokio::time::interval(SAMPLE_INTERVAL);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = samples.tick() => {
                    shared.metrics.budget_bytes.set(shared.budget.in_use() as i64);
                    shared.metrics.decompressed_bytes.set(shared.decompression.in_use() as i64);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are small and wanted at once.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection broke before it began");
                continue;
            }
            let permit = Arc::clone(&room).try_acquire_owned().ok();
            let connection = handshake::serve(Arc::clone(&shared), stream, permit, stop.clone());
            let cut = cut.clone();
            sessions.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        drop(listener);
        sessions.close();
        if tokio::time::timeout(shared.limits.drain_timeout, sessions.wait()).await.is_ok() {
            return DrainOutcome { sessions_cut: 0 };
        }
        let sessions_cut = sessions.len();
        tracing::warn!(sessions = sessions_cut, "sessions were not done within drain_timeout and are cut off");
        cut.cancel();
        sessions.wait().await;
        DrainOutcome { sessions_cut }
    }
}
