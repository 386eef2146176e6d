//! What newer Reflow clients add to v1: ids of their own, ends, request ids, figures that say "not measured".

use anyhow::{Result, ensure};
use reflow_tracing_tests::{answers, events, frames};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::system::{Standalone, record_under};

#[tokio::test]
async fn the_client_owns_the_id_of_a_trace_it_starts_by_id() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let own = Uuid::new_v4();
    assert_eq!(answers::started(&client.ask(&frames::start_trace_with_id(own, "mine")).await?)?, own);
    record_under(&mut client, &[own; 5], &events::program(5)).await?;
    assert_eq!(system.trace_with(own, 5).await?["flow_id"], "mine");
    Ok(())
}

#[tokio::test]
async fn an_explicit_end_stands_whatever_comes_after_it() -> Result<()> {
    let system = Standalone::start().await?;
    for status in [json!("Completed"), json!("Cancelled"), json!({"Failed": {"error": "tired"}})] {
        let mut client = system.connect().await?;
        let own = Uuid::new_v4();
        client.ask(&frames::start_trace_with_id(own, "ends")).await?;
        record_under(&mut client, &[own; 2], &events::program(2)).await?;
        answers::recorded(&client.ask(&frames::end_trace(own, &status)).await?)?;
        system.trace_in(own, &status).await?;
        record_under(&mut client, &[own], &[events::actor_failed("late", "late failure")]).await?;
        assert_eq!(system.trace_with(own, 3).await?["status"], status);
        client.hang_up();
    }
    Ok(())
}

#[tokio::test]
async fn request_ids_are_echoed_and_left_out_where_not_given() -> Result<()> {
    let system = Standalone::start().await?;
    let trace_id = system.store("echo", &events::program(3)).await?;
    system.trace_with(trace_id, 3).await?;

    let mut client = system.connect().await?;
    for request_id in [json!("r-1"), json!(17)] {
        let mut get = frames::get_trace(trace_id);
        get["GetTrace"]["request_id"] = request_id.clone();
        assert_eq!(client.ask(&get).await?["TraceData"]["request_id"], request_id);
        let mut query = frames::query_traces(&frames::Query::all());
        query["QueryTraces"]["request_id"] = request_id.clone();
        assert_eq!(client.ask(&query).await?["QueryResults"]["request_id"], request_id);
    }
    // Nor is it lost where the request itself cannot be understood.
    for request_id in [json!("r-2"), json!(18), json!({"of": ["mine"]})] {
        for wrong in [
            json!({"GetTrace": {"trace_id": "x", "request_id": request_id}}),
            json!({"QueryTraces": {"query": {"limit": -1}, "request_id": request_id}}),
            json!({"AskTrace": {"request_id": request_id}}),
        ] {
            let answer = client.ask(&wrong).await?;
            ensure!(answer["Error"]["request_id"] == request_id, "{wrong} is answered with {answer}");
        }
    }
    let answer = client.ask(&json!({"GetTrace": {"trace_id": "x"}})).await?;
    ensure!(answer["Error"].get("request_id").is_none(), "an echo of nothing: {answer}");
    let plain = client.ask(&frames::get_trace(trace_id)).await?;
    ensure!(plain["TraceData"].get("request_id").is_none(), "an echo of nothing");
    Ok(())
}

#[tokio::test]
async fn figures_that_were_not_measured_are_zero_to_a_v1_reader() -> Result<()> {
    let system = Standalone::start().await?;
    let null = events::measured(events::actor_completed("a"), Some(1_500), None);
    let mut missing = events::actor_completed("b");
    missing["data"]["performance_metrics"] = json!({"execution_time_ns": 7});
    let mut sized = events::data_flow("a", "out", "b", "in");
    sized["data"]["message"]["content_codec"] = json!("zstd");
    sized["data"]["message"]["content_format_version"] = json!(1);
    sized["data"]["message"]["stored_bytes"] = json!(12);

    let trace_id = system.store("figures", &[null.clone(), missing.clone(), sized.clone()]).await?;
    let stored = answers::events(&system.trace_with(trace_id, 3).await?)?;
    let figures = |event: &Value| stored[events::id(event)]["data"]["performance_metrics"].clone();
    let zeros = |execution_time_ns: u64| {
        json!({"execution_time_ns": execution_time_ns, "memory_usage_bytes": 0, "cpu_usage_percent": 0.0,
               "queue_depth": 0, "throughput_msgs_per_sec": 0.0})
    };
    ensure!(numbers_equal(&figures(&null), &zeros(1_500)), "{}", figures(&null));
    ensure!(numbers_equal(&figures(&missing), &zeros(7)), "{}", figures(&missing));
    Ok(())
}

/// 0 and 0.0 are the same figure.
fn numbers_equal(one: &Value, two: &Value) -> bool {
    let (Some(one), Some(two)) = (one.as_object(), two.as_object()) else { return false };
    one.len() == two.len()
        && one.iter().all(|(key, figure)| figure.is_number() && figure.as_f64() == two.get(key).and_then(Value::as_f64))
}
