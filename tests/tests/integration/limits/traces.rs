//! `max_open_traces`: what a session has begun and not ended.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Service, answers, events,
    frames::{self, Batch},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::connect;
use crate::system::{get, random_ids, trace_with};

const MAX: usize = 3;

async fn limited() -> Result<Service> {
    Service::standalone().env("REFLOW_TRACING_LIMITS__MAX_OPEN_TRACES", MAX.to_string()).start().await
}

fn ensure_over_the_limit(answer: &Value) -> Result<()> {
    let reason = answers::refusal(answer)?;
    ensure!(reason.contains("max_open_traces") && reason.contains(&MAX.to_string()), "{reason}");
    Ok(())
}

async fn event(client: &mut Client, trace_id: Uuid) -> Result<Value> {
    client.ask(&frames::record_event(trace_id, &events::actor_created("actor"))).await
}

#[tokio::test]
async fn a_session_has_no_more_traces_open_than_the_limit_and_an_end_makes_room() -> Result<()> {
    let service = limited().await?;
    for v2 in [false, true] {
        let mut client = connect(&service, v2).await?;
        let ids = random_ids(MAX + 1);
        for id in &ids[..MAX] {
            assert_eq!(answers::started(&client.ask(&frames::start_trace_with_id(*id, "open")).await?)?, *id);
        }
        let (last, too_many) = (ids[MAX - 1], ids[MAX]);
        let refused = client.ask(&frames::start_trace_with_id(too_many, "open")).await?;
        ensure_over_the_limit(&refused)?;
        let code = if v2 { "LimitExceeded" } else { "InvalidRequest" };
        ensure!(refused["Error"]["code"] == code, "{refused}");
        // Nor by an event alone; those of open traces are taken, and starting one again opens none.
        ensure_over_the_limit(&event(&mut client, too_many).await?)?;
        answers::recorded(&event(&mut client, last).await?)?;
        assert_eq!(answers::started(&client.ask(&frames::start_trace_with_id(last, "open")).await?)?, last);

        answers::recorded(&client.ask(&frames::end_trace(ids[0], &json!("Completed"))).await?)?;
        assert_eq!(answers::started(&client.ask(&frames::start_trace_with_id(too_many, "open")).await?)?, too_many);
        answers::recorded(&event(&mut client, too_many).await?)?;
        ensure_over_the_limit(&event(&mut client, Uuid::new_v4()).await?)?;
        trace_with(&service, too_many, 1).await?;
        trace_with(&service, last, 1).await?;

        // Another session has a limit of its own.
        answers::recorded(&event(&mut connect(&service, v2).await?, Uuid::new_v4()).await?)?;
    }
    Ok(())
}

/// A published program's random ids are one trace, however many they are. Each start without an id begins one more; such a client
/// cannot end any, so the oldest gives way, as if the session had closed.
#[tokio::test]
async fn a_published_program_may_begin_traces_for_ever() -> Result<()> {
    let service = limited().await?;
    let mut program = service.connect().await?;
    let ids = random_ids(4 * MAX);
    for id in &ids {
        answers::recorded(&event(&mut program, *id).await?)?;
    }
    let first = answers::started(&program.ask(&frames::start_trace("first")).await?)?;
    trace_with(&service, first, ids.len()).await?;
    let mut traces = vec![(first, ids.len())];
    for _ in 0..3 * MAX {
        let trace_id = answers::started(&program.ask(&frames::start_trace("more")).await?)?;
        for id in random_ids(2) {
            answers::recorded(&event(&mut program, id).await?)?;
        }
        traces.push((trace_id, 2));
    }
    let open = traces.len() - MAX;
    for (place, (trace_id, events)) in traces.iter().enumerate() {
        let trace = trace_with(&service, *trace_id, *events).await?;
        let expected = if place < open { "Completed" } else { "Running" };
        ensure!(trace["status"] == expected, "trace {place} of {}: {}", traces.len(), trace["status"]);
    }
    Ok(())
}

/// A batch says everything itself: the session keeps nothing open for it.
#[tokio::test]
async fn batches_open_nothing() -> Result<()> {
    let service = limited().await?;
    let mut client = service.connect_v2().await?;
    let batches: Vec<Batch> = (0..4 * MAX).map(|_| Batch::new("batches", events::program(2))).collect();
    for batch in &batches {
        let answer = client.ask(&batch.request()).await?;
        answers::batch_recorded(&answer, batch.batch_id)?;
    }
    let last = batches.last().context("no batch")?.trace_id;
    trace_with(&service, last, 2).await?;
    ensure!(get(&service, batches[0].trace_id).await?.is_some(), "the first one is not there");
    Ok(())
}
