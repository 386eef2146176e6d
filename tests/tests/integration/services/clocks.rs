//! Clients' clocks lie: what is kept, found and removed must not depend on them more than it has to.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Duration, Utc};
use reflow_tracing_tests::{
    Cluster, answers, events, eventually,
    frames::{self, Batch, Query},
    patience,
};
use serde_json::{Value, json};

use super::record_all;

fn program_at(flow_id: &str, time: DateTime<Utc>) -> Batch {
    let events = events::program(20).into_iter().enumerate();
    Batch::new(
        flow_id,
        events.map(|(place, event)| events::at(event, time + Duration::milliseconds(place as i64))).collect(),
    )
}

async fn found(cluster: &Cluster, query: &Query) -> Result<Vec<Value>> {
    let answer = cluster.collectors[0].connect().await?.ask(&frames::query_traces(query)).await?;
    let (traces, total) = answers::found(&answer)?;
    ensure!(total == traces.len() as u64, "{total} in total, {} on the page", traces.len());
    Ok(traces.iter().map(|trace| trace["flow_id"].clone()).collect())
}

#[tokio::test]
async fn clocks_ten_years_off_lose_nothing_and_harm_nobody() -> Result<()> {
    // Retention of a day, running every second, must go by the writer's clock.
    let cluster = Cluster::build()
        .env("REFLOW_TRACING_RETENTION__MAX_AGE_DAYS", "1")
        .env("REFLOW_TRACING_RETENTION__COMPACTION_INTERVAL_SECS", "1")
        .start()
        .await?;
    let now = Utc::now();
    let (past, future) = (now - Duration::days(3_650), now + Duration::days(3_650));
    let programs = [program_at("past", past), program_at("now", now), program_at("future", future)];
    let mut client = cluster.collectors[0].connect_v2().await?;
    record_all(&mut client, &programs).await?;
    // And one whose clock jumped in between.
    let jumped = programs[1].next(program_at("now", past).events);
    record_all(&mut client, std::slice::from_ref(&jumped)).await?;
    cluster.trace_with(jumped.trace_id, 40).await?;

    eventually(patience(), || async {
        let ok = [("task", "retention"), ("result", "ok")];
        let runs = cluster.written("reflow_writer_task_runs_total", &ok).await?;
        ensure!(runs >= 3.0, "retention ran {runs} times");
        Ok(())
    })
    .await?;

    for (program, events) in programs.iter().zip([20, 40, 20]) {
        let trace = cluster.trace_with(program.trace_id, events).await?;
        let stored = answers::events(&trace)?;
        ensure!(answers::by_id(&program.events).iter().all(|(id, event)| stored.get(id) == Some(event)), "changed");
        ensure!(trace["status"] == "Running", "status {} although events came just now", trace["status"]);
    }
    let around = |time: DateTime<Utc>| Query::all().between(time - Duration::hours(1), time + Duration::hours(1));
    assert_eq!(found(&cluster, &around(future)).await?, [json!("future")]);
    ensure!(found(&cluster, &around(past)).await?.contains(&json!("past")), "the past is not found");
    // Newest start first, by the clocks of those who started.
    let all = found(&cluster, &Query::all()).await?;
    ensure!(all.len() == 3, "{all:?}");
    assert_eq!(all.first().context("nothing is found")?, "future");
    Ok(())
}
