//! The server is killed under load and started again: everything recorded before, during and after is stored, once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use reflow_tracing_protocol::FlowId;
use reflow_tracing_protocol::client::{TracingClient, TracingConfig};
use reflow_tracing_tests::{eventually, patience};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::scene::{Server, config, event, version};

/// The length of an outage that nobody calls short.
const MINUTE: Duration = Duration::from_secs(60);

/// A program that records until it is told to stop, so many events every ten milliseconds, and counts them.
struct Load {
    stop: tokio::sync::watch::Sender<bool>,
    recorded: JoinHandle<Result<usize>>,
}

impl Load {
    fn start(client: Arc<TracingClient>, trace_id: Uuid, events: usize) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let recorded = tokio::spawn(async move {
            let mut number = 0;
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while !*stopped.borrow() {
                ticks.tick().await;
                for _ in 0..events {
                    client.record_event(reflow_tracing_protocol::TraceId(trace_id), event(number)).await?;
                    number += 1;
                }
            }
            Ok(number)
        });
        Self { stop, recorded }
    }

    async fn stop(self) -> Result<usize> {
        self.stop.send_replace(true);
        self.recorded.await?
    }
}

/// Kills the server `times` times under a load of so many events every ten milliseconds, each time for `away`.
async fn nothing_is_lost(
    times: usize,
    away: Duration,
    events: usize,
    config: impl Fn(&str) -> TracingConfig,
) -> Result<()> {
    let mut server = Server::start().await?;
    let client = Arc::new(TracingClient::new(config(&server.service.url())));
    client.connect().await?;
    let trace_id = client.start_trace(FlowId::new("outage"), version()).await?;
    let load = Load::start(Arc::clone(&client), trace_id.0, events);
    // After a long outage the next attempt to connect may be `max_delay` away.
    let within = client.config().retry_config.max_delay + patience();
    let load_flows = async || {
        let acked = client.metrics().events_acked;
        eventually(within, || async {
            ensure!(client.metrics().events_acked > acked + 500, "the load does not flow");
            Ok(())
        })
        .await
    };
    for _ in 0..times {
        load_flows().await?;
        server.service.kill9().await?;
        eventually(patience(), || async {
            ensure!(!client.is_connected(), "the client has not noticed");
            Ok(())
        })
        .await?;
        // What is tested is the length of the outage itself.
        tokio::time::sleep(away).await;
        server.service.restart().await?;
    }
    load_flows().await?;
    let recorded = load.stop().await?;
    client.flush_within(patience()).await?;
    let metrics = client.metrics();
    assert_eq!((metrics.events_recorded, metrics.events_dropped()), (recorded as u64, 0));
    assert_eq!(metrics.events_acked, recorded as u64);
    ensure!(metrics.connections_lost >= times as u64);
    server.trace_with(trace_id.0, recorded).await?;
    let counted = client.get_trace_details(trace_id).await?.and_then(|details| details.summary.counted);
    let counted = counted.ok_or_else(|| anyhow::anyhow!("no counts"))?;
    assert_eq!((counted.event_count, counted.clients[0].missing), (recorded as u64, 0));
    client.shutdown_within(patience()).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_under_load_loses_nothing() -> Result<()> {
    nothing_is_lost(4, Duration::from_millis(300), 100, config).await
}

#[tokio::test]
async fn a_server_that_is_away_for_a_minute_loses_nothing_with_the_published_defaults() -> Result<()> {
    let published = |url: &str| TracingConfig { server_url: url.to_owned(), ..TracingConfig::default() };
    // Five hundred events a second, so that the whole trace fits into one answer.
    nothing_is_lost(1, MINUTE, 5, published).await
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect().await?;
    let trace_id = client.start_trace(FlowId::new("still"), version()).await?;
    server.service.pause().await?;
    for number in 0..5_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    let undelivered = client.flush_within(Duration::from_millis(200)).await.expect_err("nobody can have acked");
    assert_eq!((undelivered.events, undelivered.spooled), (5_000, 0));
    server.service.resume()?;
    client.flush_within(patience()).await?;
    server.trace_with(trace_id.0, 5_000).await?;
    Ok(())
}
