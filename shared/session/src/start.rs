//! How a service serves sessions from its start to their drain.

use std::time::Duration;

use reflow_tracing_service::metrics::MetricError;
use reflow_tracing_service::{Service, Stage};
use tokio::net::TcpListener;

use crate::{Capabilities, Server, SessionLimits, SessionMetrics};

/// What is left to a drain that has passed its own deadline: time to say so.
const SLACK: Duration = Duration::from_secs(1);

impl Server {
    /// The stage of sessions: the first to stop, as everything else serves them.
    pub fn stage(service: &Service) -> Stage {
        service.lifecycle.stage("sessions", SessionLimits::of(&service.config, None).drain_timeout + SLACK)
    }

    /// Serves sessions in `stage` until its turn to stop.
    ///
    /// # Errors
    ///
    /// When the metrics of sessions cannot be registered.
    pub fn start(
        service: &Service,
        stage: &Stage,
        listener: TcpListener,
        capabilities: Capabilities,
    ) -> Result<(), MetricError> {
        let limits = SessionLimits::of(&service.config, service.admin_address);
        let server = Self::new(capabilities, limits, SessionMetrics::register(&service.metrics)?);
        let stop = stage.stop();
        stage.spawn("sessions", async move {
            if server.serve(listener, stop).await.sessions_cut > 0 {
                // The stage says that something was cut off when its deadline passes, a moment from now.
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        Ok(())
    }
}
