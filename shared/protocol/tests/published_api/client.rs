//! Every method of the client and of the integration, and the global one. The client may not do anything: what is shown is that its
//! calls compile.

use std::future::Future;
use std::sync::Arc;

use reflow_tracing_protocol::client::{
    TracingClient, TracingConfig, TracingError, TracingIntegration, global_tracing, init_global_tracing,
};
use reflow_tracing_protocol::{FlowId, FlowTrace, TraceId};

use super::samples::{config, event, filters, query, version};

type Outcome<T> = Result<T, TracingError>;

/// Runs a future that has exactly this output and may move between threads.
fn done<T>(runtime: &tokio::runtime::Runtime, future: impl Future<Output = Outcome<T>> + Send) -> T {
    runtime.block_on(future).unwrap()
}

#[test]
fn every_method_of_the_client_is_called_as_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _: fn(TracingConfig) -> TracingClient = TracingClient::new;
    let _: fn() -> TracingClient = TracingClient::with_default_config;
    let _: fn(&'static str) -> TracingClient = TracingClient::with_server_url;
    let _: fn(String) -> TracingClient = TracingClient::with_server_url;
    let is_connected: fn(&TracingClient) -> bool = TracingClient::is_connected;
    let connection_status: fn(&TracingClient) -> String = TracingClient::connection_status;

    let client = TracingClient::new(config());
    done::<()>(&runtime, client.connect());
    let trace_id: TraceId = done::<TraceId>(&runtime, client.start_trace(FlowId::new("flow"), version()));
    done::<()>(&runtime, client.record_event(trace_id.clone(), event()));
    done::<()>(&runtime, client.ping());
    let found: Vec<FlowTrace> = done::<Vec<FlowTrace>>(&runtime, client.query_traces(query()));
    let trace: Option<FlowTrace> = done::<Option<FlowTrace>>(&runtime, client.get_trace(trace_id));
    done::<()>(&runtime, client.subscribe(filters()));
    done::<()>(&runtime, client.flush());
    done::<()>(&runtime, client.shutdown());
    assert!(found.is_empty() && trace.is_none());
    assert!(!is_connected(&client));
    assert_eq!(connection_status(&client), "Disconnected");
}

#[test]
fn every_method_of_the_integration_is_called_as_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let new: fn(TracingClient) -> TracingIntegration = TracingIntegration::new;
    let client: fn(&TracingIntegration) -> Arc<TracingClient> = TracingIntegration::client;
    let tracing = new(TracingClient::new(config()));
    let (borrowed, owned) = ("a", "a".to_owned());

    let _: TraceId = done::<TraceId>(&runtime, tracing.start_flow_trace(borrowed));
    let _: TraceId = done::<TraceId>(&runtime, tracing.start_flow_trace(&owned));
    done::<()>(&runtime, tracing.trace_actor_created(borrowed));
    done::<()>(&runtime, tracing.trace_actor_created(&owned));
    done::<()>(&runtime, tracing.trace_actor_completed(owned.clone()));
    done::<()>(&runtime, tracing.trace_actor_failed(borrowed, owned.clone()));
    done::<()>(&runtime, tracing.trace_message_sent(borrowed, &owned, owned.clone(), 1_usize));
    done::<()>(&runtime, tracing.trace_data_flow(borrowed, &owned, owned.clone(), borrowed, "T", 1_usize));
    assert!(!client(&tracing).is_connected());
}

#[test]
fn the_global_client_is_set_once() {
    let init: fn(TracingConfig) -> Outcome<()> = init_global_tracing;
    let global: fn() -> Option<&'static TracingIntegration> = global_tracing;
    assert!(global().is_none());
    init(config()).unwrap();
    assert!(global().is_some());
    assert!(matches!(init(config()), Err(TracingError::WebSocketError(_))));
}
