//! Against a server that knows no v2: connect again without, remember it, one uncompressed text frame an event.

use std::time::Duration;

use anyhow::{Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, TracingError};
use reflow_tracing_protocol::{ExecutionStatus, FlowId, TraceId};
use reflow_tracing_tests::{eventually, patience};

use crate::scene::{config, event, everything, version};
use crate::stand_in::StandIn;

#[tokio::test]
async fn a_published_server_gets_every_event_once_under_one_trace_id() -> Result<()> {
    let server = StandIn::start(false).await?;
    let client = TracingClient::builder(config(&server.url)).token("secret").build()?;
    client.record(&client.current_trace_id(), event(0))?;
    client.connect_within(patience()).await?;
    ensure!(client.server_limits().is_none(), "v1 announces no limits");
    let trace_id = client.start_trace(FlowId::new("older"), version()).await?;
    for number in 1..3_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    client.flush_within(patience()).await?;
    let metrics = client.metrics();
    assert_eq!((metrics.events_acked, metrics.fallbacks_to_v1), (3_000, 1));
    client.end_trace(trace_id.clone(), ExecutionStatus::Completed).await?;
    // It does not know that request, says so, and nothing comes of it.
    client.shutdown_within(patience()).await?;
    server.seen(|seen| {
        assert_eq!((seen.events.len(), seen.binary_frames), (3_000, 0));
        assert!(seen.events.iter().all(|(id, _)| *id == trace_id));
        let mut actors: Vec<_> = seen.events.iter().map(|(_, event)| event.actor_id.clone()).collect();
        actors.sort();
        actors.dedup();
        assert_eq!(actors.len(), 3_000);
        assert_eq!(
            (seen.starts.as_slice(), seen.authorization.as_deref()),
            (&["older".to_owned()][..], Some("Bearer secret"))
        );
        assert_eq!(seen.unreadable.len(), 1, "{:?}", seen.unreadable);
    });
    Ok(())
}

#[tokio::test]
async fn that_it_speaks_v1_is_remembered() -> Result<()> {
    let server = StandIn::start(false).await?;
    for _ in 0..3 {
        let client = TracingClient::new(config(&server.url));
        client.connect_within(patience()).await?;
        client.shutdown_within(patience()).await?;
    }
    server.seen(|seen| assert_eq!((seen.handshakes, seen.offers), (4, 1)));
    Ok(())
}

#[tokio::test]
async fn answers_are_matched_by_their_order() -> Result<()> {
    let server = StandIn::start(false).await?;
    let client = TracingClient::new(config(&server.url));
    client.connect_within(patience()).await?;
    // All at once, with events in between.
    let record = async {
        for number in 0..500 {
            client.record(&client.current_trace_id(), event(number))?;
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    let (ping, trace, traces, versions, metrics, recorded) = tokio::join!(
        client.ping(),
        client.get_trace(TraceId::new()),
        client.query_traces(everything()),
        client.get_flow_versions(FlowId::new("f")),
        client.server_metrics(),
        record,
    );
    (ping?, recorded as Result<()>).1?;
    ensure!(trace?.is_none() && traces?.is_empty());
    ensure!(metrics?["messages_received"].is_u64());
    let refused = versions.expect_err("it does not implement that");
    ensure!(
        matches!(&refused, TracingError::WebSocketError(reason) if reason.contains("not implemented")),
        "{refused}"
    );
    client.flush_within(patience()).await?;
    assert_eq!(client.metrics().events_acked, 500);
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() -> Result<()> {
    let server = StandIn::start(true).await?;
    let client = TracingClient::builder(config(&server.url)).answer_timeout(Duration::from_millis(300)).build()?;
    client.connect_within(patience()).await?;
    ensure!(matches!(client.ping().await, Err(TracingError::Timeout)));
    ensure!(matches!(client.query_traces(everything()).await, Err(TracingError::Timeout)));
    client.record(&client.current_trace_id(), event(0))?;
    let undelivered = client.flush_within(Duration::from_millis(200)).await.expect_err("nothing was acked");
    assert_eq!(undelivered.events, 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_is_left() -> Result<()> {
    let server = StandIn::start(true).await?;
    let client = TracingClient::builder(config(&server.url)).silence_timeout(Duration::from_millis(300)).build()?;
    client.connect_within(patience()).await?;
    eventually(patience(), || async {
        let metrics = client.metrics();
        ensure!(metrics.connections_lost > 0 && metrics.connections > 1, "{metrics:?}");
        Ok(())
    })
    .await?;
    Ok(())
}
