//! Every public struct, built by literal.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reflow_tracing_protocol::client::{RetryConfig, TracingConfig};
use reflow_tracing_protocol::{
    CausalityInfo, EventId, ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, MessageSnapshot,
    PerformanceMetrics, StateDiff, StateDiffType, SubscriptionFilters, TraceEvent, TraceEventData, TraceEventType,
    TraceId, TraceMetadata, TraceQuery,
};
use uuid::Uuid;

pub fn version() -> FlowVersion {
    FlowVersion { major: 1, minor: 2, patch: 3, git_hash: Some("abc".to_owned()), timestamp: Utc::now() }
}

pub fn event() -> TraceEvent {
    TraceEvent {
        event_id: EventId(Uuid::nil()),
        timestamp: Utc::now(),
        event_type: TraceEventType::DataFlow { to_actor: "b".to_owned(), to_port: "in".to_owned() },
        actor_id: "a".to_owned(),
        data: TraceEventData {
            port: Some("out".to_owned()),
            message: Some(MessageSnapshot {
                message_type: "String".to_owned(),
                size_bytes: 5_usize,
                checksum: String::new(),
                serialized_data: Vec::<u8>::new(),
            }),
            state_diff: Some(StateDiff {
                before: Some(vec![1_u8]),
                after: vec![2_u8],
                diff_type: StateDiffType::Incremental,
            }),
            error: None::<String>,
            performance_metrics: PerformanceMetrics {
                execution_time_ns: 1_u64,
                memory_usage_bytes: 2_usize,
                cpu_usage_percent: 3.0_f32,
                queue_depth: 4_usize,
                throughput_msgs_per_sec: 5.0_f64,
            },
            custom_attributes: HashMap::<String, serde_json::Value>::new(),
        },
        causality: CausalityInfo {
            parent_event_id: Some(EventId(Uuid::nil())),
            root_cause_event_id: EventId(Uuid::nil()),
            dependency_chain: vec![EventId(Uuid::nil())],
            span_id: "span".to_owned(),
        },
    }
}

pub fn trace() -> FlowTrace {
    FlowTrace {
        trace_id: TraceId(Uuid::nil()),
        flow_id: FlowId("flow".to_owned()),
        execution_id: ExecutionId(Uuid::nil()),
        version: version(),
        start_time: Utc::now(),
        end_time: None::<DateTime<Utc>>,
        status: ExecutionStatus::Failed { error: "no".to_owned() },
        events: vec![event()],
        metadata: TraceMetadata {
            user_id: None::<String>,
            session_id: None::<String>,
            environment: String::new(),
            hostname: String::new(),
            process_id: 1_u32,
            thread_id: String::new(),
            tags: HashMap::<String, String>::new(),
        },
    }
}

pub fn query() -> TraceQuery {
    TraceQuery {
        flow_id: Some(FlowId("flow".to_owned())),
        execution_id: None::<ExecutionId>,
        time_range: None::<(DateTime<Utc>, DateTime<Utc>)>,
        status: None::<ExecutionStatus>,
        actor_filter: None::<String>,
        limit: Some(1_usize),
        offset: None::<usize>,
    }
}

pub fn filters() -> SubscriptionFilters {
    SubscriptionFilters {
        flow_ids: None::<Vec<FlowId>>,
        actor_ids: None::<Vec<String>>,
        event_types: Some(vec![TraceEventType::NetworkEvent]),
        status_filter: None::<Vec<ExecutionStatus>>,
    }
}

/// A client that may not do anything: what is shown here is that its calls compile.
pub fn config() -> TracingConfig {
    TracingConfig {
        server_url: "ws://localhost:1".to_owned(),
        batch_size: 1_usize,
        batch_timeout: Duration::from_millis(100),
        enable_compression: true,
        retry_config: RetryConfig {
            max_retries: 5_usize,
            initial_delay: Duration::from_millis(1_000),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2.0_f64,
        },
        enabled: false,
    }
}
