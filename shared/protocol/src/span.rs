//! The span id of a new event: the span that the program is in, so that its traces elsewhere can be found from ours.
//!
//! An OpenTelemetry span comes first (16 hex digits, as W3C has it): `tracing-opentelemetry` makes the span that is entered the
//! current one, so that its users need nothing more. Then a `tracing` span, by the number that its subscriber knows it by, written in the
//! same way. Where there is neither it is a random id, as in the published crate.
//!
//! OpenTelemetry's current span is seen only through the version of its API that this crate is built with; a program that uses another
//! one gets the `tracing` span, or a random id. Without the feature `opentelemetry` (on by default) that is so for everybody.

use uuid::Uuid;

/// The span id for an event that happens now.
pub(crate) fn current() -> String {
    opentelemetry_span().or_else(tracing_span).unwrap_or_else(|| Uuid::new_v4().to_string())
}

#[cfg(feature = "opentelemetry")]
fn opentelemetry_span() -> Option<String> {
    use opentelemetry::Context;
    use opentelemetry::trace::TraceContextExt as _;

    Context::map_current(|context| {
        let span = context.has_active_span().then(|| context.span().span_context().span_id())?;
        (span != opentelemetry::SpanId::INVALID).then(|| span.to_string())
    })
}

#[cfg(not(feature = "opentelemetry"))]
fn opentelemetry_span() -> Option<String> {
    None
}

#[cfg(feature = "client")]
fn tracing_span() -> Option<String> {
    tracing::Span::current().id().map(|id| format!("{:016x}", id.into_u64()))
}

#[cfg(not(feature = "client"))]
fn tracing_span() -> Option<String> {
    None
}
