//! Spans about the service's own work, for an OTLP collector and for nobody else.
//!
//! A span is a unit of work: a chunk published, a question, a commit, a background run. Never an event, and not a session
//! either, which may last for weeks and would be told only when it ends. They have a target of their own, which only the
//! exporter listens to (see [`crate::telemetry`]): where none is configured a span costs a look at a static.
//!
//! What may be in a span: numbers, ids, and words from a fixed list. Nothing that a client or a configuration wrote.

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Span, span_enabled};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What own spans are told by.
pub const TARGET: &str = "reflow_spans";

/// The header that carries a span's place from one process to another (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// A span of the service's own work. Fields as in `tracing`; numbers as `i64`, or they are exported as text. Its outcome is
/// told by [`spans::ended`](crate::spans::ended).
#[macro_export]
macro_rules! work_span {
    ($name:literal $(, $($fields:tt)+)?) => {
        ::tracing::info_span!(
            target: $crate::spans::TARGET,
            $name,
            reflow.result = ::tracing::field::Empty,
            otel.status_code = ::tracing::field::Empty
            $(, $($fields)+)?
        )
    };
}

/// Says how the work went: `result` is a word from a fixed list, the one that the metrics count it under.
pub fn ended(span: &Span, result: &'static str, failed: bool) {
    if span.is_disabled() {
        return;
    }
    span.record("reflow.result", result);
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// The place of the span that this code runs in, as [`TRACEPARENT`] has it. `None` outside of one, and where none are
/// exported.
pub fn traceparent() -> Option<String> {
    if !span_enabled!(target: TARGET, Level::INFO) {
        return None;
    }
    let mut carrier = Carrier::default();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.0
}

/// Makes `span` a child of a span in another process. Before it is entered; what cannot be read changes nothing.
pub fn continues(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = place(span, traceparent) {
        // It fails only for a span that has begun, which would then stay a root.
        let _ = span.set_parent(context);
    }
}

/// Says that `span` goes on with what another one began, one of many maybe. What cannot be read changes nothing.
pub fn links(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = place(span, traceparent) {
        span.add_link(context.span().span_context().clone());
    }
}

fn place(span: &Span, traceparent: Option<&str>) -> Option<Context> {
    let carrier = Carrier(Some(traceparent.filter(|_| !span.is_disabled())?.to_owned()));
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    context.has_active_span().then_some(context)
}

/// Headers, of which only one matters.
#[derive(Default)]
struct Carrier(Option<String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn places_travel_and_what_cannot_be_read_changes_nothing() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let place = work_span!("first").in_scope(|| traceparent().unwrap());
            for (name, told) in [("child", Some(place.as_str())), ("root", Some("00-nonsense")), ("root", None)] {
                let span = work_span!("next", otel.name = name, reflow.events = 3_i64);
                continues(&span, told);
                links(&span, told);
                ended(&span, "failed", name == "child");
            }
        });
        let spans = kept.0.lock().unwrap();
        let [first, child, root, other] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((child.parent_span_id, child.links.len()), (first.span_context.span_id(), 1));
        assert_eq!(child.span_context.trace_id(), first.span_context.trace_id());
        assert!(matches!(child.status, opentelemetry::trace::Status::Error { .. }));
        for root in [root, other] {
            assert_eq!((root.parent_span_id, root.links.len()), (opentelemetry::SpanId::INVALID, 0));
            assert_eq!(root.status, opentelemetry::trace::Status::Unset);
        }
        assert!(child.attributes.contains(&opentelemetry::KeyValue::new("reflow.events", 3)));
    }
}
