//! One run of an actor, from its start to its end, measured.

use std::future::Future;

use web_time::Instant;

use super::TracingIntegration;
use crate::client::{Cause, CauseScope, Result};
use crate::{TraceEvent, TraceEventType};

/// A run of an actor that has started. Its end tells how long it took and has its start as its cause.
///
/// Dropping it records nothing: a run that was neither completed nor failed has no end in the trace, which is the truth.
#[must_use = "a run that is not ended has no end in the trace"]
pub struct ActorRun {
    tracing: TracingIntegration,
    actor_id: String,
    cause: Cause,
    began: Instant,
}

impl TracingIntegration {
    /// An actor begins to work. What this gives ends that work, and measures it.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_actor_started(&self, actor_id: impl Into<String>) -> Result<ActorRun> {
        let actor_id = actor_id.into();
        let event = TraceEvent::of(TraceEventType::ActorStarted, actor_id.clone());
        let cause = self.trace_event(event).await?;
        Ok(ActorRun { tracing: self.clone(), actor_id, cause, began: Instant::now() })
    }
}

impl ActorRun {
    /// The start as a cause.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What is recorded in this future was caused by the start.
    pub fn scope<F: Future>(&self, future: F) -> CauseScope<F> {
        self.cause.clone().scope(future)
    }

    /// The actor finished its work.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn completed(self) -> Result<Cause> {
        self.ended(TraceEventType::ActorCompleted, None).await
    }

    /// The actor failed.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn failed(self, error: impl Into<String>) -> Result<Cause> {
        self.ended(TraceEventType::ActorFailed, Some(error.into())).await
    }

    async fn ended(self, event_type: TraceEventType, error: Option<String>) -> Result<Cause> {
        let took = self.began.elapsed();
        let mut event = TraceEvent::of(event_type, self.actor_id);
        event.data.error = error;
        // All zero means "not measured"; a run that took no time the clock can tell took at most a nanosecond.
        event.data.performance_metrics.execution_time_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.cause.lead_to(&mut event);
        self.tracing.trace_event(event).await
    }
}
