//! Questions get the server's answers, and live events come as a stream.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use reflow_tracing_protocol::client::{EventStream, LiveEvent, TracingClient, TracingError};
use reflow_tracing_protocol::{ExecutionStatus, FlowId, SubscriptionFilters, TraceEvent, TraceId, TraceQuery};
use reflow_tracing_tests::{eventually, patience};

use crate::scene::{Server, event, everything, noise, version};

fn of_flow(flow: &str) -> SubscriptionFilters {
    let flow_ids = Some(vec![FlowId::new(flow)]);
    SubscriptionFilters { flow_ids, actor_ids: None, event_types: None, status_filter: None }
}

async fn record(client: &TracingClient, flow: &str, events: usize) -> Result<TraceId> {
    let trace_id = client.start_trace(FlowId::new(flow), version()).await?;
    for number in 0..events {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    client.end_trace(trace_id.clone(), ExecutionStatus::Completed).await?;
    client.flush_within(patience()).await?;
    Ok(trace_id)
}

async fn next(stream: &mut EventStream) -> Result<LiveEvent> {
    tokio::time::timeout(patience(), stream.next()).await.context("no event in time")?.context("the stream ended")
}

#[tokio::test]
async fn history_is_found_listed_counted_and_fetched() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect_within(patience()).await?;
    let mut ids = Vec::new();
    for run in 0..25 {
        ids.push(record(&client, &format!("orders_{}", 123_456_000 + run), 4).await?);
    }
    record(&client, "other", 1).await?;
    let query = TraceQuery { flow_id: Some(FlowId::new("orders")), ..everything() };
    let found = eventually(patience(), || async {
        let traces = client.query_traces(query.clone()).await?;
        ensure!(traces.len() == 25, "{} of 25 traces", traces.len());
        Ok(traces)
    })
    .await?;
    ids.reverse();
    assert_eq!(found.iter().map(|trace| trace.trace_id.clone()).collect::<Vec<_>>(), ids, "newest first");
    ensure!(found.iter().all(|trace| trace.events.len() == 4 && trace.status == ExecutionStatus::Completed));

    let (mut after, mut paged) = (None::<String>, Vec::new());
    loop {
        let page = client.find_traces(TraceQuery { limit: Some(10), ..query.clone() }, after.as_deref()).await?;
        assert_eq!(page.total, 25);
        paged.extend(page.traces.iter().map(|trace| trace.trace_id.clone()));
        ensure!(page.traces.iter().all(|trace| trace.flow_name.as_deref() == Some("orders")));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, ids);
    let count = client.find_traces(TraceQuery { limit: Some(0), ..everything() }, None).await?;
    assert_eq!((count.total, count.traces.len()), (26, 0));

    let versions = client.get_flow_versions(FlowId::new("orders")).await?;
    assert_eq!((versions[0].major, versions[0].minor, versions[0].patch), (1, 2, 3));
    ensure!(client.get_trace(TraceId::new()).await?.is_none());
    ensure!(client.server_metrics().await?.is_object());
    ensure!(client.ping_within(patience()).await? < patience());
    Ok(())
}

#[tokio::test]
async fn a_refusal_tells_the_servers_reason() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    let now = chrono::Utc::now();
    let backwards = TraceQuery { time_range: Some((now, now - chrono::TimeDelta::hours(1))), ..everything() };
    let error = client.query_traces(backwards).await.expect_err("it ends before it begins");
    ensure!(matches!(&error, TracingError::WebSocketError(reason) if reason.contains("time_range")), "{error}");
    Ok(())
}

#[tokio::test]
async fn live_events_come_as_they_happen_by_filter_and_again_after_a_reconnect() -> Result<()> {
    let mut server = Server::start().await?;
    let (client, viewer) = (server.client(), server.client());
    let mut stream = viewer.events(of_flow("seen")).await?;
    record(&client, "unseen", 5).await?;
    let trace_id = record(&client, "seen", 5).await?;
    for number in 0..5 {
        match next(&mut stream).await? {
            LiveEvent::Event { trace_id: id, event } => {
                assert_eq!((id, event.actor_id), (trace_id.clone(), format!("actor-{number}")));
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    server.service.restart().await?;
    // What is missed is told, how much nobody knows.
    ensure!(matches!(next(&mut stream).await?, LiveEvent::Lagged { missed: None }));
    record(&client, "seen", 1).await?;
    ensure!(matches!(next(&mut stream).await?, LiveEvent::Event { .. }));

    // From a time on: first what is stored.
    let mut since = viewer.events_since(of_flow("seen"), chrono::Utc::now() - chrono::TimeDelta::hours(1)).await?;
    for _ in 0..6 {
        ensure!(matches!(next(&mut since).await?, LiveEvent::Event { .. }));
    }
    Ok(())
}

#[tokio::test]
async fn a_subscription_on_the_clients_own_connection_outlives_it() -> Result<()> {
    let mut server = Server::start().await?;
    let (client, viewer) = (server.client(), server.client());
    viewer.subscribe(of_flow("seen")).await?;
    let one_more_is_seen = || async {
        let seen = viewer.metrics().live_events;
        record(&client, "seen", 1).await?;
        eventually(patience(), || async {
            ensure!(viewer.metrics().live_events == seen + 1, "{:?}", viewer.metrics());
            Ok(())
        })
        .await
    };
    one_more_is_seen().await?;
    server.service.restart().await?;
    viewer.connect_within(patience()).await?;
    // Behind the subscription, which is asked for first.
    viewer.ping_within(patience()).await?;
    one_more_is_seen().await?;
    ensure!(viewer.metrics().connections > 1, "{:?}", viewer.metrics());
    Ok(())
}

#[tokio::test]
async fn a_slow_viewer_is_told_what_it_missed_and_holds_up_nothing() -> Result<()> {
    let server = Server::start().await?;
    let (client, viewer) = (server.client(), server.client());
    let mut stream = viewer.events(of_flow("flood")).await?;
    let trace_id = client.start_trace(FlowId::new("flood"), version()).await?;
    // Each a batch of its own, and together far more than everything between the server and the viewer holds.
    let (recorded, noise) = (900, noise(100_000));
    for number in 0..recorded {
        let mut event: TraceEvent = event(usize::try_from(number)?);
        event.data.custom_attributes.insert("text".to_owned(), noise.clone().into());
        client.record_event(trace_id.clone(), event).await?;
        client.flush_within(patience()).await?;
    }
    let (mut events, mut missed) = (0_u64, 0);
    while events + missed < recorded {
        match next(&mut stream).await? {
            LiveEvent::Event { .. } => events += 1,
            LiveEvent::Lagged { missed: Some(count) } => missed += count,
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(missed > 0, "nothing was missed of {events}");
    assert_eq!(events + missed, recorded);
    // The viewer's own connection was free all the time.
    viewer.ping_within(Duration::from_secs(5)).await?;
    Ok(())
}
