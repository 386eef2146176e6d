//! Answers as clients read them: with the published types in v1, as JSON in v2.

mod fake;
mod stored;

use std::sync::Arc;

use fake::*;
use reflow_tracing_bus::MAX_PIECE_BYTES;
use reflow_tracing_chunk::{Chunk, merge};
use reflow_tracing_protocol::{
    ErrorCode, ExecutionStatus, FlowId, FlowTrace, TraceQuery, TraceResponse, TracingResponse,
};
use reflow_tracing_session::{Ask, Dialect, Question};
use reflow_tracing_store::{ClientRow, StoreErrorKind};
use serde_json::{Value, json};
use uuid::Uuid;

fn question(dialect: Dialect, ask: Ask) -> Question {
    Question { tenant: "default".into(), dialect, request_id: None, max_answer_bytes: 64 << 20, traceparent: None, ask }
}

fn everything() -> TraceQuery {
    TraceQuery {
        flow_id: None,
        execution_id: None,
        time_range: None,
        status: None,
        actor_filter: None,
        limit: None,
        offset: None,
    }
}

fn get(dialect: Dialect, trace_id: Uuid) -> Question {
    question(dialect, Ask::GetTrace { trace_id })
}

fn list(dialect: Dialect, query: TraceQuery, after: Option<String>) -> Question {
    question(dialect, Ask::QueryTraces { query, after })
}

async fn ask(reader: &Arc<FakeReader>, question: &Question) -> String {
    String::from_utf8(pieces(reader, question).await.concat()).unwrap()
}

async fn ask_v1(reader: &Arc<FakeReader>, question: &Question) -> TracingResponse {
    serde_json::from_str(&ask(reader, question).await).unwrap()
}

async fn ask_v2(reader: &Arc<FakeReader>, question: &Question) -> Value {
    serde_json::from_str(&ask(reader, question).await).unwrap()
}

async fn v1_trace(reader: &Arc<FakeReader>, trace_id: Uuid) -> FlowTrace {
    match ask_v1(reader, &get(Dialect::V1, trace_id)).await {
        TracingResponse::TraceData { trace: Some(trace) } => trace,
        other => panic!("{other:?}"),
    }
}

/// Traces of two events each; newer ones first in lists.
fn traces(count: usize) -> (Vec<Uuid>, Arc<FakeReader>) {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let chunks: Vec<Chunk> =
        ids.iter().map(|id| chunk(*id, &[json(&at(event("a"), 10)), json(&at(event("b"), 20))])).collect();
    let summaries = ids.iter().zip(&chunks).enumerate();
    let summaries =
        summaries.map(|(i, (id, chunk))| summary(*id, NOW_US - i as i64, std::slice::from_ref(chunk))).collect();
    (ids, Arc::new(FakeReader::with(summaries, chunks)))
}

fn actors(trace: &FlowTrace) -> Vec<&str> {
    trace.events.iter().map(|event| event.actor_id.as_str()).collect()
}

#[tokio::test]
async fn a_trace_is_read_by_the_published_types_by_time_and_each_event_once() {
    let id = Uuid::new_v4();
    let [a, b, c, d] = [("a", 30), ("b", 10), ("c", 20), ("d", 20)].map(|(actor, us)| json(&at(event(actor), us)));
    let chunks = vec![chunk(id, &[a.clone(), c.clone(), d]), chunk(id, &[b, c])];
    let reader = Arc::new(FakeReader::with(vec![summary(id, 10, &chunks)], chunks));
    let trace = v1_trace(&reader, id).await;
    assert_eq!(actors(&trace), ["b", "c", "d", "a"]);
    assert_eq!((trace.trace_id.0, trace.execution_id.0), (id, id));
    assert_eq!(trace.flow_id.0, "orders_123456789");
    assert_eq!((trace.version.major, trace.version.timestamp.timestamp_micros()), (0, 10));
    assert_eq!((trace.end_time, trace.status, trace.metadata.hostname.as_str()), (None, ExecutionStatus::Running, ""));
}

#[tokio::test]
async fn figures_that_were_not_measured_are_zero_in_v1_and_null_in_v2() {
    let id = Uuid::new_v4();
    let sent = json(&event("a")).replace("\"queue_depth\":0", "\"queue_depth\":null");
    let chunks = vec![chunk(id, &[sent])];
    let reader = Arc::new(FakeReader::with(vec![summary(id, 10, &chunks)], chunks));
    assert_eq!(v1_trace(&reader, id).await.events[0].data.performance_metrics.queue_depth, 0);
    let answer = ask_v2(&reader, &get(Dialect::V2, id)).await;
    let trace = &answer["TraceData"]["trace"];
    assert_eq!(trace["events"][0]["data"]["performance_metrics"]["queue_depth"], Value::Null);
    assert_eq!(
        (&trace["version"], &trace["metadata"], &trace["execution_id"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn v2_tells_what_each_client_recorded_and_what_is_missing() {
    let (ids, reader) = traces(1);
    let client = ClientRow { client_id: "c".into(), recorded: 10, stored: 4, dropped: 3, rejected: 1 };
    {
        let trace = &mut reader.state.lock().unwrap().traces[0];
        trace.clients.push(client);
        trace.left_out = 18;
    }
    let answer = ask_v2(&reader, &get(Dialect::V2, ids[0])).await;
    let summary = &answer["TraceData"]["trace"]["summary"];
    assert_eq!((&summary["event_count"], &summary["exact"]), (&json!(2), &json!(false)));
    assert_eq!(summary["estimated_events"], 20, "where programs sample");
    assert_eq!(
        summary["clients"][0],
        json!({"client_id": "c", "recorded": 10, "present": 4, "missing": 6, "dropped": 3, "rejected": 1, "not_arrived": 2})
    );
}

#[tokio::test]
async fn a_missing_trace_is_null_or_an_error_of_the_older_generation() {
    let (_, reader) = traces(0);
    let id = Uuid::new_v4();
    assert_eq!(ask(&reader, &get(Dialect::V1, id)).await, r#"{"TraceData":{"trace":null}}"#);
    let mut asked = get(Dialect::V2, id);
    asked.request_id = Some(serde_json::from_str(r#"{"n": 1}"#).unwrap());
    assert_eq!(ask(&reader, &asked).await, r#"{"TraceData":{"trace":null,"request_id":{"n": 1}}}"#);
    let older: TraceResponse = serde_json::from_str(&ask(&reader, &get(Dialect::V1Older, id)).await).unwrap();
    assert!(matches!(older, TraceResponse::Error { message } if message.contains(&id.to_string())));
}

#[tokio::test]
async fn sixty_megabytes_come_whole_in_pieces() {
    let id = Uuid::new_v4();
    let mut big = event("a");
    big.data.custom_attributes.insert("text".into(), Value::String("x".repeat(600 << 10)));
    let chunks: Vec<Chunk> = (0..100)
        .map(|i| {
            big.event_id = reflow_tracing_protocol::EventId::new();
            chunk(id, &[json(&at(big.clone(), i))])
        })
        .collect();
    let mut reader = FakeReader::with(vec![summary(id, 10, &chunks)], chunks);
    reader.chunks_a_page = 7;
    let pieces = pieces(&Arc::new(reader), &get(Dialect::V1, id)).await;
    let (last, full) = pieces.split_last().unwrap();
    assert!(full.iter().all(|piece| piece.len() == MAX_PIECE_BYTES) && last.len() <= MAX_PIECE_BYTES);
    let answer: TracingResponse = serde_json::from_slice(&pieces.concat()).unwrap();
    assert!(matches!(answer, TracingResponse::TraceData { trace: Some(trace) } if trace.events.len() == 100));
}

#[tokio::test]
async fn a_trace_above_the_limit_is_refused_with_its_size_and_a_way_out() {
    let (ids, reader) = traces(1);
    let mut asked = get(Dialect::V1, ids[0]);
    asked.max_answer_bytes = 1_000;
    let TracingResponse::Error { message, code } = ask_v1(&reader, &asked).await else { panic!("no error") };
    assert!(
        matches!(code, ErrorCode::InvalidRequest) && message.contains("1000") && message.contains("v2"),
        "{message}"
    );
    asked.dialect = Dialect::V2;
    let answer = ask_v2(&reader, &asked).await;
    assert_eq!((&answer["Error"]["code"], &answer["Error"]["retryable"]), (&json!("LimitExceeded"), &json!(false)));
}

/// Compaction puts everything before the cursor once the first page was read.
fn compacts_after_first_page(mark_exact: bool) -> (Uuid, Arc<FakeReader>) {
    let id = Uuid::new_v4();
    let chunks: Vec<Chunk> = (0..10).map(|i| chunk(id, &[json(&at(event(&format!("a{i}")), i))])).collect();
    let mut reader = FakeReader::with(vec![summary(id, 0, &chunks)], chunks);
    reader.chunks_a_page = 4;
    *reader.before_page.get_mut().unwrap() = Some(Box::new(move |state, page| {
        if page == 1 {
            state.chunks = merge(&state.chunks, 1 << 20).unwrap().chunks;
            state.traces[0].exact = mark_exact;
        }
    }));
    (id, Arc::new(reader))
}

#[tokio::test]
async fn a_trace_compacted_between_two_pages_loses_and_doubles_nothing() {
    for mark_exact in [true, false] {
        let (id, reader) = compacts_after_first_page(mark_exact);
        let expected: Vec<String> = (0..10).map(|i| format!("a{i}")).collect();
        assert_eq!(actors(&v1_trace(&reader, id).await), expected);
    }
}

#[tokio::test]
async fn v1_lists_whole_traces_newest_first_with_the_true_total() {
    let (ids, reader) = traces(300);
    let answer = ask_v1(&reader, &list(Dialect::V1, everything(), None)).await;
    let TracingResponse::QueryResults { traces, total_count } = answer else { panic!("{answer:?}") };
    assert_eq!((traces.len(), total_count), (100, 300));
    assert!(traces.iter().zip(&ids).all(|(trace, id)| trace.trace_id.0 == *id && trace.events.len() == 2));

    let page = TraceQuery { limit: Some(290), offset: Some(20), ..everything() };
    let answer = ask_v1(&reader, &list(Dialect::V1, page.clone(), None)).await;
    let TracingResponse::QueryResults { traces, total_count } = answer else { panic!("{answer:?}") };
    assert_eq!((traces.len(), total_count, traces[0].trace_id.0), (280, 300, ids[20]));
    let older: TraceResponse = serde_json::from_str(&ask(&reader, &list(Dialect::V1Older, page, None)).await).unwrap();
    assert!(matches!(older, TraceResponse::TracesFound { traces } if traces.len() == 280));
}

#[tokio::test]
async fn limit_zero_only_counts_and_an_offset_beyond_the_end_is_empty() {
    let (_, reader) = traces(3);
    for page in [TraceQuery { limit: Some(0), ..everything() }, TraceQuery { offset: Some(9), ..everything() }] {
        let answer = ask(&reader, &list(Dialect::V1, page.clone(), None)).await;
        assert_eq!(answer, r#"{"QueryResults":{"traces":[],"total_count":3}}"#);
        let answer = ask(&reader, &list(Dialect::V2, page, None)).await;
        assert_eq!(answer, r#"{"QueryResults":{"traces":[],"total_count":3,"next":null}}"#);
    }
}

#[tokio::test]
async fn v1_traces_that_do_not_fit_are_refused_with_the_limit_that_would() {
    let (_, reader) = traces(20);
    let one = ask(&reader, &list(Dialect::V1, TraceQuery { limit: Some(1), ..everything() }, None)).await.len();
    let mut asked = list(Dialect::V1, everything(), None);
    asked.max_answer_bytes = one * 4;
    let TracingResponse::Error { message, .. } = ask_v1(&reader, &asked).await else { panic!("no error") };
    assert!(message.contains("limit 4"), "{message}");
}

#[tokio::test]
async fn v2_pages_follow_each_other_and_end() {
    let (ids, reader) = traces(300);
    let query = TraceQuery { limit: Some(100), flow_id: Some(FlowId::new("orders")), ..everything() };
    let (mut after, mut seen) = (None, Vec::new());
    for page in 0..3 {
        let answer = ask_v2(&reader, &list(Dialect::V2, query.clone(), after)).await;
        let results = &answer["QueryResults"];
        assert_eq!(results["total_count"], 300);
        for trace in results["traces"].as_array().unwrap() {
            assert!(trace.get("events").is_none());
            seen.push(trace["trace_id"].as_str().unwrap().parse::<Uuid>().unwrap());
        }
        after = results["next"].as_str().map(str::to_owned);
        assert_eq!(after.is_none(), page == 2);
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_wrong_cursor_and_a_wrong_range_are_the_clients_fault() {
    let (_, reader) = traces(1);
    let answer = ask_v2(&reader, &list(Dialect::V2, everything(), Some("x".into()))).await;
    assert_eq!(answer["Error"]["code"], "InvalidRequest");
    let time = |us| chrono::DateTime::from_timestamp_micros(us).unwrap();
    let backwards = TraceQuery { time_range: Some((time(2), time(1))), ..everything() };
    assert!(matches!(
        ask_v1(&reader, &list(Dialect::V1, backwards, None)).await,
        TracingResponse::Error { code: ErrorCode::InvalidRequest, .. }
    ));
}

#[tokio::test]
async fn versions_statuses_and_flows_are_told() {
    let (ids, reader) = traces(2);
    let versions = |flow: &str| question(Dialect::V1, Ask::GetFlowVersions { flow_id: flow.into() });
    let answer = ask_v1(&reader, &versions("orders")).await;
    assert!(
        matches!(answer, TracingResponse::FlowVersions { versions } if versions[0].minor == 2 && versions.len() == 2)
    );
    assert_eq!(ask(&reader, &versions("unknown")).await, r#"{"FlowVersions":{"versions":[]}}"#);

    let asked = question(Dialect::V2, Ask::Statuses { trace_ids: vec![ids[1], Uuid::new_v4()] });
    let statuses: Vec<(Uuid, ExecutionStatus)> = serde_json::from_str(&ask(&reader, &asked).await).unwrap();
    assert_eq!(statuses, [(ids[1], ExecutionStatus::Running)]);
    let asked = question(Dialect::V2, Ask::Flows { trace_ids: vec![ids[1], Uuid::new_v4()] });
    let flows: Vec<(Uuid, String, String)> = serde_json::from_str(&ask(&reader, &asked).await).unwrap();
    assert_eq!(flows, [(ids[1], "orders_123456789".to_owned(), "orders".to_owned())]);
}

#[tokio::test]
async fn a_store_that_is_away_is_told_without_its_cause() {
    let reader = FakeReader { fail: Some(StoreErrorKind::Unavailable), ..FakeReader::default() };
    let reader = Arc::new(reader);
    let asked = get(Dialect::V1, Uuid::new_v4());
    let TracingResponse::Error { message, code } = ask_v1(&reader, &asked).await else { panic!("no error") };
    assert!(matches!(code, ErrorCode::StorageError) && !message.contains("hunter2"), "{message}");
    let answer = ask_v2(&reader, &get(Dialect::V2, Uuid::new_v4())).await;
    assert_eq!((&answer["Error"]["code"], &answer["Error"]["retryable"]), (&json!("Unavailable"), &json!(true)));

    let reader = FakeReader { fail: Some(StoreErrorKind::Schema), ..FakeReader::default() };
    let answer = ask_v2(&Arc::new(reader), &get(Dialect::V2, Uuid::new_v4())).await;
    assert_eq!((&answer["Error"]["code"], &answer["Error"]["retryable"]), (&json!("Unavailable"), &json!(false)));
}

#[tokio::test]
async fn chunks_since_a_time_come_whole_and_by_received_time() {
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let mut chunks: Vec<Chunk> = (0..10).map(|i| chunk(ids[i % 2], &[json(&event("a"))])).collect();
    for (i, chunk) in chunks.iter_mut().enumerate() {
        chunk.header.received_us = NOW_US - i as i64;
    }
    let of = |id| chunks.iter().filter(|chunk| chunk.header.trace_uuid() == id).cloned().collect::<Vec<_>>();
    let mut traces: Vec<_> = ids.iter().map(|id| summary(*id, NOW_US, &of(*id))).collect();
    // Whoever took in all but this one did not know the flow; the trace does.
    chunks[3].header.flow_id = Some("own".to_owned());
    let mut expected: Vec<Chunk> = chunks[..=6].to_vec();
    for header in expected.iter_mut().map(|chunk| &mut chunk.header).filter(|header| header.flow_id.is_none()) {
        (header.flow_id, header.flow_name) = (traces[0].flow_id.clone(), traces[0].flow_name.clone());
    }
    assert!(expected[0].header.flow_id.is_some(), "the summary names no flow");
    traces.push(summary(Uuid::new_v4(), NOW_US - 100, &[]));
    expected.reverse();
    let mut reader = FakeReader::with(traces, chunks);
    reader.chunks_a_page = 3;
    let expected: Vec<_> = expected.into_iter().map(Some).collect();
    assert_eq!(since(&Arc::new(reader), NOW_US - 6).await, expected);
}

/// What a viewer is told of the past: chunks, and `None` where something may be missing.
async fn since(reader: &Arc<FakeReader>, since_us: i64) -> Vec<Option<Chunk>> {
    let asked = question(Dialect::V2, Ask::Chunks { since_us });
    let mut answer = bytes::Bytes::from(pieces(reader, &asked).await.concat());
    let mut found = Vec::new();
    while !answer.is_empty() {
        let length = u32::from_le_bytes(answer.split_to(4)[..].try_into().unwrap()) as usize;
        found.push((length > 0).then(|| Chunk::decode(answer.split_to(length)).unwrap()));
    }
    found
}

#[tokio::test]
async fn the_past_of_a_trace_compacted_between_two_pages_is_whole() {
    for mark_exact in [true, false] {
        let (_, reader) = compacts_after_first_page(mark_exact);
        let found = since(&reader, 0).await;
        let events: Vec<u32> = found.iter().flatten().map(|chunk| chunk.header.event_count).collect();
        assert_eq!((events, found.len()), (vec![10], 1), "the compacted chunk alone");
    }
}

#[tokio::test]
async fn a_past_that_changes_again_and_again_has_a_gap_and_says_so() {
    let (_, reader) = compacts_after_first_page(true);
    *reader.before_page.lock().unwrap() = Some(Box::new(|state, page| {
        // Whatever the first page of a reading has told lies elsewhere at the second.
        if page % 2 == 1 {
            state.traces[0].exact = !state.traces[0].exact;
            state.chunks.truncate(5);
        }
    }));
    let found = since(&reader, 0).await;
    assert_eq!(found.last(), Some(&None), "{} items", found.len());
}
