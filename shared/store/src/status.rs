//! The status of a trace: a pure function of its summary and the time.

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_protocol::ExecutionStatus;

use crate::TraceSummary;

/// Status and whether it was inferred from idleness rather than told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStatus {
    /// As the protocol names it.
    pub status: ExecutionStatus,
    /// Nobody ended or closed the trace; it is merely idle.
    pub inferred: bool,
}

/// An explicit end always; else `closed_us >= last_received_us` → failed or completed; else idle for longer than
/// `trace_idle_us` → the same, inferred; else running.
pub fn status_of(summary: &TraceSummary, now_us: i64, trace_idle_us: i64) -> TraceStatus {
    let told = |status| TraceStatus { status, inferred: false };
    if let Some(end) = &summary.ended {
        return told(match end.status() {
            EndStatus::Completed => ExecutionStatus::Completed,
            EndStatus::Cancelled => ExecutionStatus::Cancelled,
            EndStatus::Failed => ExecutionStatus::Failed { error: end.error.clone() },
        });
    }
    let by_failures = || match (&summary.first_error, summary.failures) {
        (_, 0) => ExecutionStatus::Completed,
        (error, _) => ExecutionStatus::Failed { error: error.as_ref().map(|e| e.message.clone()).unwrap_or_default() },
    };
    if summary.closed_us.is_some_and(|closed| closed >= summary.last_received_us) {
        return told(by_failures());
    }
    if now_us.saturating_sub(summary.last_received_us) > trace_idle_us {
        return TraceStatus { status: by_failures(), inferred: true };
    }
    told(ExecutionStatus::Running)
}
