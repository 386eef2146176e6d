//! A server says what its clients leave out, and asks them what became of the rest.

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reflow_tracing_protocol::client::{TracingClient, TracingIntegration};
use reflow_tracing_protocol::wire::SamplingRule;
use reflow_tracing_protocol::{EventId, FlowId, TraceEvent};
use reflow_tracing_tests::{Port, Service, eventually, patience};
use serde_json::json;

use uuid::Uuid;

use crate::scene::{Server, config, event, version};

const KEPT: f64 = 0.25;

fn server() -> reflow_tracing_tests::ServiceBuilder {
    Service::standalone()
        .memory()
        .env("REFLOW_TRACING_CLIENTS__SAMPLING", format!("flow:busy type:MessageSent = {KEPT}"))
        .env("REFLOW_TRACING_CLIENTS__REPORT_INTERVAL_SECS", "1")
}

/// A client that has heard the rules: it was seen to leave something out.
async fn obedient(server: &Service) -> Result<TracingClient> {
    let client = TracingClient::new(config(&server.url()));
    client.connect_within(patience()).await?;
    let trace_id = client.start_trace(FlowId::new("busy"), version()).await?;
    eventually(patience(), || async {
        client.record_event(trace_id.clone(), event(0)).await?;
        ensure!(client.metrics().events_sampled_out > 0, "everything is recorded");
        Ok(())
    })
    .await?;
    client.end_trace(trace_id, reflow_tracing_protocol::ExecutionStatus::Completed).await?;
    Ok(client)
}

#[tokio::test]
async fn rules_of_the_server_leave_out_what_they_say_and_keep_counts_true() -> Result<()> {
    let server = server().start().await?;
    let client = obedient(&server).await?;
    let trace_id = client.start_trace(FlowId::new("busy"), version()).await?;
    let before = client.metrics().events_sampled_out;
    for number in 0..2_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    for number in 0..20 {
        let failed = TraceEvent::actor_failed(format!("actor-{number}"), "no more paper".into());
        client.record_event(trace_id.clone(), failed).await?;
    }
    client.flush_within(patience()).await?;
    let left_out = client.metrics().events_sampled_out - before;

    let details = client.get_trace_details(trace_id).await?.context("no such trace")?;
    let failures = details.events.iter().filter(|event| event.data.error.is_some()).count();
    assert_eq!(failures, 20);
    let sampled: Vec<_> = details.events.iter().filter(|event| event.data.error.is_none()).collect();
    assert_eq!(sampled.len() as u64 + left_out, 2_000);
    ensure!((300..700).contains(&sampled.len()), "{} of 2,000 at a rate of {KEPT}", sampled.len());
    ensure!(sampled.iter().all(|event| event.data.custom_attributes["sample_rate"] == KEPT), "{:?}", sampled[0]);
    // What was left out on purpose is not missing.
    let account = &details.summary.counted.context("no counts")?.clients[0];
    assert_eq!((account.recorded, account.dropped, account.not_arrived), (details.events.len() as u64, 0, 0));
    Ok(())
}

/// Which events are kept is read from their ids: with the same ids it is the same tenth every time.
#[tokio::test]
async fn counts_stay_true_where_a_tenth_is_recorded() -> Result<()> {
    const RECORDED: u64 = 5_000;
    let server = Server::start().await?;
    let rules = SamplingRule::parse_all("type:MessageSent = 0.1")?;
    let client = TracingClient::builder(config(&server.service.url())).sampling(rules).build()?;
    client.connect_within(patience()).await?;
    let trace_id = client.start_trace(FlowId::new("busy"), version()).await?;
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..RECORDED {
        let sent = TraceEvent::message_sent("worker".into(), "out".into(), "Number".into(), 8);
        let event_id = EventId(Uuid::from_u128(random.random()));
        client.record_event(trace_id.clone(), TraceEvent { event_id, ..sent }).await?;
        if number % 500 == 0 {
            client.record_event(trace_id.clone(), TraceEvent::actor_failed("worker".into(), "no".into())).await?;
        }
    }
    client.flush_within(patience()).await?;
    ensure!(client.metrics().events_sampled_out > 0, "everything was recorded");

    let counted = client.get_trace_details(trace_id).await?.context("no such trace")?.summary.counted;
    let counted = counted.context("no counts")?;
    let sampled = counted.event_count - counted.failures;
    assert_eq!(counted.failures, 10, "failures are recorded whole");
    assert_eq!((counted.stored_events, counted.clients[0].missing), (sampled + 10, 0));
    let estimated = counted.estimated_events.context("no estimate")?;
    assert_eq!(estimated, 10 * sampled + 10, "each of a tenth stands for ten");
    // Four standard deviations of 5,000 chances of a tenth, ten times each.
    ensure!(estimated.abs_diff(RECORDED + 10) <= 850, "{estimated} of {RECORDED} and 10 failures");
    Ok(())
}

#[tokio::test]
async fn other_flows_are_recorded_whole() -> Result<()> {
    let server = server().start().await?;
    let client = obedient(&server).await?;
    let trace_id = client.start_trace(FlowId::new("quiet"), version()).await?;
    for number in 0..200 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    client.flush_within(patience()).await?;
    let details = client.get_trace_details(trace_id).await?.context("no such trace")?;
    assert_eq!(details.events.len(), 200);
    ensure!(details.events.iter().all(|event| event.data.custom_attributes.is_empty()), "a rate where there is none");
    Ok(())
}

#[tokio::test]
async fn the_server_learns_what_became_of_its_clients_events() -> Result<()> {
    let server = server().start().await?;
    let client = obedient(&server).await?;
    let trace_id = client.start_trace(FlowId::new("quiet"), version()).await?;
    for number in 0..200 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    client.flush_within(patience()).await?;
    let own = client.metrics();
    ensure!(own.events_acked >= 200 && own.events_sampled_out > 0, "{own:?}");
    eventually(patience(), || async {
        let told = server.metrics().await?;
        let told = |result| told.sum("reflow_client_events_total", &[("result", result)]);
        ensure!(told("recorded") == Some(own.events_recorded as f64), "recorded: {:?}", told("recorded"));
        ensure!(told("acked") == Some(own.events_acked as f64), "acked: {:?}", told("acked"));
        ensure!(told("sampled_out") == Some(own.events_sampled_out as f64), "left out: {:?}", told("sampled_out"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_scope_decides_over_nothing_but_the_flow_of_its_own_message() -> Result<()> {
    const FLOWS: u64 = 1_000;
    let port = Port::reserve()?;
    let rules = SamplingRule::parse_all("type:DataFlow = 0.5; type:MessageSent = 0.5")?;
    let url = format!("ws://127.0.0.1:{}", port.number());
    let tracing = TracingIntegration::new(TracingClient::builder(config(&url)).sampling(rules).build()?);
    let left_out = || tracing.client().metrics().events_sampled_out;
    let flows = async |count: u64| -> Result<()> {
        for number in 0..count {
            tracing.trace_data_flow(format!("actor-{number}"), "out", "sink", "in", "Number", 8).await?;
        }
        Ok(())
    };
    let run = tracing.trace_actor_started("worker").await?;
    run.scope(flows(FLOWS)).await?;
    // Chances of a half, each its own: eight standard deviations.
    ensure!((370..630).contains(&left_out()), "{} of {FLOWS} are left out", left_out());
    for number in 0..100 {
        let before = left_out();
        let sent = tracing.trace_message_sent_with("worker", format!("port-{number}"), "Number", json!(number)).await?;
        sent.scope(flows(1)).await?;
        ensure!([0, 2].contains(&(left_out() - before)), "a message without its flow, or the other way round");
    }
    Ok(())
}
