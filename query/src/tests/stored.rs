//! Answers from the real memory store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use reflow_tracing_bus::HistoryHandler;
use reflow_tracing_protocol::{ExecutionStatus, FlowId, TraceEvent, TraceQuery, TracingResponse};
use reflow_tracing_service::Metrics;
use reflow_tracing_session::{Ask, Dialect, Question};
use reflow_tracing_store::{EvictionPolicy, MemoryStore, StoreWriter};
use uuid::Uuid;

use super::fake::{NOW_US, at, chunk, event, json};
use super::{everything, list, question};
use crate::{HistoryOptions, HistoryService, QueryMetrics};

struct Stored {
    store: Arc<MemoryStore>,
    service: HistoryService,
}

impl Stored {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new(1_000, EvictionPolicy::Lru));
        let metrics = QueryMetrics::register(&Metrics::try_new("test").unwrap()).unwrap();
        let options = HistoryOptions { trace_idle: Duration::from_secs(900), clock: || NOW_US };
        Self { service: HistoryService::new(store.clone(), options, metrics), store }
    }

    async fn commit(&self, flow: &str, events: &[TraceEvent]) -> Uuid {
        let trace_id = Uuid::new_v4();
        let events: Vec<String> = events.iter().map(json).collect();
        let mut chunk = chunk(trace_id, &events);
        chunk.header.flow_id = Some(format!("{flow}_123456789"));
        chunk.header.flow_name = Some(flow.to_owned());
        chunk.header.sent_ids = Uuid::from_u128(trace_id.as_u128() ^ 1).as_bytes().to_vec();
        self.store.commit(&[chunk], NOW_US).await.unwrap();
        trace_id
    }

    async fn ask(&self, question: &Question) -> TracingResponse {
        let answer = self.service.answer(serde_json::to_vec(question).unwrap().into()).await.unwrap();
        let pieces: Vec<_> = answer.try_collect().await.unwrap();
        serde_json::from_slice(&pieces.concat()).unwrap()
    }

    async fn found(&self, query: TraceQuery) -> Vec<Uuid> {
        match self.ask(&list(Dialect::V1, query, None)).await {
            TracingResponse::QueryResults { traces, total_count } => {
                assert_eq!(traces.len(), total_count);
                traces.iter().map(|trace| trace.trace_id.0).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_filter_of_a_query_narrows() {
    let stored = Stored::new();
    let first = stored.commit("orders", &[at(event("a"), NOW_US)]).await;
    let mut failed = TraceEvent::actor_failed("b".into(), "no stock".into());
    failed = at(failed, NOW_US - 1_000_000);
    let second = stored.commit("billing", &[failed]).await;

    let flow = |flow: &str| TraceQuery { flow_id: Some(FlowId::new(flow)), ..everything() };
    let actor = |actor: &str| TraceQuery { actor_filter: Some(actor.into()), ..everything() };
    let date = |us| chrono::DateTime::from_timestamp_micros(us).unwrap();
    let range = |from, to| TraceQuery { time_range: Some((date(from), date(to))), ..everything() };
    let status = |status| TraceQuery { status: Some(status), ..everything() };
    assert_eq!(stored.found(everything()).await, [first, second]);
    assert_eq!(stored.found(flow("orders")).await, [first]);
    assert_eq!(stored.found(flow("billing_123456789")).await, [second]);
    assert!(stored.found(flow("order")).await.is_empty());
    assert_eq!(stored.found(actor("b")).await, [second]);
    assert_eq!(stored.found(range(NOW_US, NOW_US)).await, [first]);
    assert_eq!(stored.found(range(NOW_US - 1_000_000, NOW_US - 1)).await, [second]);
    assert_eq!(stored.found(status(ExecutionStatus::Running)).await, [first, second]);
    assert!(stored.found(status(ExecutionStatus::Completed)).await.is_empty());
    let execution = Some(reflow_tracing_protocol::ExecutionId(first));
    assert_eq!(stored.found(TraceQuery { execution_id: execution, ..everything() }).await, [first]);
}

#[tokio::test]
async fn a_trace_is_found_by_an_id_under_which_its_events_were_sent() {
    let stored = Stored::new();
    let trace_id = stored.commit("orders", &[event("a"), event("b")]).await;
    let sent = Uuid::from_u128(trace_id.as_u128() ^ 1);
    let asked = question(Dialect::V1, Ask::GetTrace { trace_id: sent });
    let TracingResponse::TraceData { trace: Some(trace) } = stored.ask(&asked).await else { panic!("no trace") };
    assert_eq!((trace.trace_id.0, trace.events.len()), (trace_id, 2));
}
