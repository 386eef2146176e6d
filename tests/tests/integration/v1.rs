//! The frames of `TracingRequest`, one by one, and the order of their answers.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{answers, events, frames};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::system::{Standalone, ensure_holds, get, record};

#[tokio::test]
async fn a_recorded_trace_comes_back_as_it_was_sent() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let sent = events::program(50);
    let trace_id = record(&mut client, "orders", &sent).await?;

    let trace = system.trace_with(trace_id, 50).await?;
    ensure_holds(&trace, &sent)?;
    assert_eq!(trace["trace_id"], json!(trace_id));
    assert_eq!(trace["flow_id"], "orders");
    assert_eq!(trace["status"], "Running");
    assert_eq!(trace["version"]["major"], 1);
    Ok(())
}

#[tokio::test]
async fn what_events_do_not_tell_is_filled_in_as_v1_readers_need_it() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let trace_id = Uuid::new_v4();
    answers::recorded(&client.ask(&frames::record_event(trace_id, &events::actor_created("a"))).await?)?;

    let trace = system.trace_with(trace_id, 1).await?;
    assert_eq!(trace["execution_id"], json!(trace_id));
    for part in ["major", "minor", "patch"] {
        assert_eq!(trace["version"][part], 0);
    }
    for field in ["environment", "hostname", "thread_id"] {
        assert_eq!(trace["metadata"][field], "");
    }
    ensure!(trace["metadata"]["tags"].is_object(), "{}", trace["metadata"]);
    Ok(())
}

#[tokio::test]
async fn a_trace_that_does_not_exist_is_null() -> Result<()> {
    let system = Standalone::start().await?;
    ensure!(get(&system.service, Uuid::new_v4()).await?.is_none(), "it exists");
    Ok(())
}

#[tokio::test]
async fn a_ping_is_answered_with_a_pong() -> Result<()> {
    let system = Standalone::start().await?;
    assert_eq!(system.connect().await?.ask(&frames::ping()).await?, "Pong");
    Ok(())
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_requests() -> Result<()> {
    let system = Standalone::start().await?;
    let other = system.store("other", &events::program(20)).await?;
    system.trace_with(other, 20).await?;

    let mut requests = Vec::new();
    for event in events::program(200) {
        requests.push(frames::record_event(Uuid::new_v4(), &event));
        match requests.len() % 7 {
            0 => requests.push(frames::ping()),
            3 => requests.push(frames::get_trace(other)),
            5 => requests.push(frames::query_traces(&frames::Query::all().limit(0))),
            _ => {}
        }
    }
    requests.insert(100, frames::start_trace("mixed"));

    let answers = system.connect().await?.ask_all(&requests).await?;
    for (request, answer) in requests.iter().zip(&answers) {
        let kind = match request {
            Value::String(_) => "Pong",
            _ if request.get("RecordEvent").is_some() => "EventRecorded",
            _ if request.get("StartTrace").is_some() => "TraceStarted",
            _ if request.get("GetTrace").is_some() => "TraceData",
            _ => "QueryResults",
        };
        ensure!(answer == kind || answer.get(kind).is_some(), "{request:.200} was answered with {answer:.200}");
    }
    Ok(())
}

#[tokio::test]
async fn all_zero_figures_come_back_as_zeros() -> Result<()> {
    let system = Standalone::start().await?;
    let sent = [events::data_flow("a", "out", "b", "in")];
    let trace_id = system.store("zeros", &sent).await?;
    ensure_holds(&system.trace_with(trace_id, 1).await?, &sent)
}
