//! An event's span id is that of the span that the program is in.

#![cfg(not(target_arch = "wasm32"))]

use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use reflow_tracing_protocol::TraceEvent;
use tracing_subscriber::layer::SubscriberExt;
use uuid::Uuid;

fn span_id() -> String {
    TraceEvent::actor_created("actor".into()).causality.span_id
}

#[test]
fn outside_of_any_span_it_is_random() {
    let (one, other) = (span_id(), span_id());
    assert_ne!(one, other);
    assert!(Uuid::parse_str(&one).is_ok(), "{one}");
}

#[test]
fn a_tracing_span_is_told_by_its_number() {
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
    let span = tracing::info_span!("work");
    let number = span.id().map(|id| format!("{:016x}", id.into_u64()));
    assert_eq!(span.in_scope(|| (span_id(), span_id())), (number.clone().unwrap(), number.unwrap()));
}

#[test]
fn an_opentelemetry_span_comes_before_the_tracing_span_that_made_it() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    tracing::info_span!("work").in_scope(|| {
        let theirs = Context::current().span().span_context().span_id();
        assert_ne!(theirs, opentelemetry::SpanId::INVALID);
        assert_eq!(span_id(), theirs.to_string());
    });
}
