//! One tracing integration for a whole program, and the macro that uses it.

use std::sync::OnceLock;

use super::{Result, TracingClient, TracingConfig, TracingError, TracingIntegration};

static GLOBAL: OnceLock<TracingIntegration> = OnceLock::new();

/// Makes the program's integration.
///
/// # Errors
/// [`TracingError::WebSocketError`] when there is one already.
pub fn init_global_tracing(config: TracingConfig) -> Result<()> {
    let integration = TracingIntegration::new(TracingClient::new(config));
    let twice = |_| TracingError::WebSocketError("Global tracing client already initialized".to_string());
    GLOBAL.set(integration).map_err(twice)
}

/// The program's integration, once made.
pub fn global_tracing() -> Option<&'static TracingIntegration> {
    GLOBAL.get()
}

/// Traces an event of an actor through the program's integration, if there is one. For async code.
#[macro_export]
macro_rules! trace_actor_event {
    (created, $actor_id:expr) => {
        if let Some(tracing) = $crate::client::global_tracing() {
            let _ = tracing.trace_actor_created($actor_id).await;
        }
    };
    (message_sent, $actor_id:expr, $port:expr, $msg_type:expr, $size:expr) => {
        if let Some(tracing) = $crate::client::global_tracing() {
            let _ = tracing.trace_message_sent($actor_id, $port, $msg_type, $size).await;
        }
    };
    (failed, $actor_id:expr, $error:expr) => {
        if let Some(tracing) = $crate::client::global_tracing() {
            let _ = tracing.trace_actor_failed($actor_id, $error).await;
        }
    };
}
