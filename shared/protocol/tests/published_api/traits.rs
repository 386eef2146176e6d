//! Traits and defaults.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use reflow_tracing_protocol::client::{RetryConfig, TracingClient, TracingConfig, TracingError, TracingIntegration};
use reflow_tracing_protocol::{
    CausalityInfo, ErrorCode, EventId, ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, MessageSnapshot,
    PerformanceMetrics, StateDiff, StateDiffType, SubscriptionFilters, TraceEvent, TraceEventData, TraceEventType,
    TraceId, TraceMessage, TraceMetadata, TraceQuery, TraceResponse, TracingRequest, TracingResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::samples::config;

fn plain<T: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static>() {}
fn compared<T: PartialEq + Eq + Hash>() {}
fn shown<T: Display>() {}
fn made<T: Default>() {}
fn shared<T: Send + Sync + 'static>() {}
fn cloned<T: Clone>() {}
fn failed<T: Error + Debug + Display + Send + Sync + From<serde_json::Error> + 'static>() {}

#[test]
fn every_type_has_its_traits() {
    plain::<TraceId>();
    plain::<FlowId>();
    plain::<ExecutionId>();
    plain::<EventId>();
    plain::<FlowVersion>();
    plain::<TracingRequest>();
    plain::<TracingResponse>();
    plain::<ErrorCode>();
    plain::<SubscriptionFilters>();
    plain::<FlowTrace>();
    plain::<ExecutionStatus>();
    plain::<TraceEvent>();
    plain::<TraceEventType>();
    plain::<TraceEventData>();
    plain::<MessageSnapshot>();
    plain::<StateDiff>();
    plain::<StateDiffType>();
    plain::<PerformanceMetrics>();
    plain::<CausalityInfo>();
    plain::<TraceMetadata>();
    plain::<TraceQuery>();
    plain::<TraceMessage>();
    plain::<TraceResponse>();
    plain::<TracingConfig>();
    plain::<RetryConfig>();
    compared::<TraceId>();
    compared::<FlowId>();
    compared::<ExecutionId>();
    compared::<EventId>();
    compared::<ExecutionStatus>();
    compared::<TraceEventType>();
    shown::<TraceId>();
    shown::<FlowId>();
    shown::<ExecutionId>();
    shown::<EventId>();
    made::<TraceId>();
    made::<ExecutionId>();
    made::<EventId>();
    made::<PerformanceMetrics>();
    made::<TracingConfig>();
    shared::<TracingClient>();
    shared::<TracingIntegration>();
    cloned::<TracingIntegration>();
    failed::<TracingError>();
}

#[test]
fn defaults_are_those_that_were_published() {
    let default = TracingConfig { enabled: true, server_url: "ws://localhost:8080".to_owned(), ..config() };
    assert_eq!(format!("{:?}", TracingConfig::default()), format!("{default:?}"));
    let zero = PerformanceMetrics {
        execution_time_ns: 0,
        memory_usage_bytes: 0,
        cpu_usage_percent: 0.0,
        queue_depth: 0,
        throughput_msgs_per_sec: 0.0,
    };
    assert_eq!(format!("{:?}", PerformanceMetrics::default()), format!("{zero:?}"));
}
