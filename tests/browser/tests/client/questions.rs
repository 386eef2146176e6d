//! Answers of the server reach the program.

use futures_util::StreamExt;
use reflow_tracing_browser_tests::{Server, patience};
use reflow_tracing_protocol::client::LiveEvent;
use reflow_tracing_protocol::{FlowId, SubscriptionFilters, TraceId, TraceQuery};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::scene::{connected, delivered, record, started};

#[wasm_bindgen_test]
async fn what_was_recorded_can_be_asked_for() {
    let server = Server::start().await;
    let client = connected(&server.url).await;
    let trace_id = started(&client, "questions").await;
    let sent = record(&client, &trace_id, 30).await;
    delivered(&client).await;

    assert!(client.ping_within(patience()).await.expect("a pong") < patience());
    let trace = client.get_trace(trace_id.clone()).await.expect("an answer").expect("a trace");
    assert_eq!(
        trace.events.iter().map(|event| event.event_id.to_string()).collect::<std::collections::BTreeSet<_>>(),
        sent
    );
    assert_eq!(client.get_trace(TraceId::new()).await.expect("an answer").map(|trace| trace.trace_id), None);

    let query = TraceQuery {
        flow_id: Some(FlowId::new("questions")),
        execution_id: None,
        time_range: None,
        status: None,
        actor_filter: None,
        limit: Some(5),
        offset: None,
    };
    let found = client.query_traces(query).await.expect("an answer");
    assert_eq!(found.iter().map(|trace| (&trace.trace_id, trace.events.len())).collect::<Vec<_>>(), [(&trace_id, 30)]);

    let versions = client.get_flow_versions(FlowId::new("questions")).await.expect("an answer");
    assert_eq!(
        versions.iter().map(|version| (version.major, version.minor, version.patch)).collect::<Vec<_>>(),
        [(1, 2, 3)]
    );
}

#[wasm_bindgen_test]
async fn events_are_seen_as_they_happen() {
    let server = Server::start().await;
    let client = connected(&server.url).await;
    let filters = SubscriptionFilters {
        flow_ids: None,
        actor_ids: Some(vec!["actor 3".to_owned()]),
        event_types: None,
        status_filter: None,
    };
    let mut live = client.events(filters).await.expect("a subscription");
    let trace_id = started(&client, "live").await;
    record(&client, &trace_id, 14).await;
    delivered(&client).await;
    for _ in 0..2 {
        match live.next().await {
            Some(LiveEvent::Event { trace_id: of, event }) => {
                assert_eq!((of, event.actor_id.as_str()), (trace_id.clone(), "actor 3"));
            }
            other => panic!("not an event: {other:?}"),
        }
    }
}
