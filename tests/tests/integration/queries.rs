//! `QueryTraces` with each of its filters, its pages and its true total; `GetFlowVersions`.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use chrono::{DateTime, Duration, Utc};
use reflow_tracing_tests::{Service, answers, events, eventually, frames, frames::Query, patience};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::system::{Standalone, record};

/// Ids of the traces that match, in the order of the answer, and the total.
async fn query(service: &Service, query: &Query) -> Result<(Vec<Uuid>, u64)> {
    let answer = service.connect().await?.ask(&frames::query_traces(query)).await?;
    let (traces, total) = answers::found(&answer)?;
    let ids = traces.iter().map(|trace| answers::uuid_at(trace, "/trace_id")).collect::<Result<_>>()?;
    Ok((ids, total))
}

/// Fails unless exactly these match, in any order.
async fn expect(service: &Service, what: &Query, ids: &[Uuid]) -> Result<()> {
    eventually(patience(), || async {
        let (found, total) = query(service, what).await?;
        ensure!(total == ids.len() as u64, "{what:?}: the total is {total} instead of {}", ids.len());
        let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (found.iter().collect(), ids.iter().collect());
        ensure!(found == wanted, "{what:?}: found {found:?} instead of {wanted:?}");
        Ok(())
    })
    .await
}

fn minute(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000, 0).unwrap_or_default() + Duration::minutes(number)
}

/// One event, at a minute of its own, so that the order of the traces is known.
fn dated(event: Value, number: i64) -> Value {
    events::at(event, minute(number))
}

#[tokio::test]
async fn each_filter_finds_what_it_says() -> Result<()> {
    let system = Standalone::start().await?;
    let service = &system.service;
    let completed = system.store("a_1763900000", &[dated(events::actor_completed("worker"), 1)]).await?;
    let failed = system.store("a_1763900001", &[dated(events::actor_failed("worker", "no disk"), 2)]).await?;
    let other = system.store("b", &[dated(events::actor_failed("reader", "no file"), 3)]).await?;
    let mut client = system.connect().await?;
    let running = record(&mut client, "b", &[dated(events::actor_created("reader"), 4)]).await?;

    let failed_with = |error: &str| json!({"Failed": {"error": error}});
    let cases = [
        (Query::all(), vec![completed, failed, other, running]),
        (Query::all().flow("a_1763900000"), vec![completed]),
        (Query::all().flow("b"), vec![other, running]),
        (Query::all().flow("c"), vec![]),
        // A flow's name is its id without the tail that the program generated.
        (Query::all().flow("a"), vec![completed, failed]),
        (Query::all().actor("worker"), vec![completed, failed]),
        (Query::all().actor("nobody"), vec![]),
        (Query::all().execution(other), vec![other]),
        (Query::all().execution(Uuid::new_v4()), vec![]),
        (Query::all().status(json!("Completed")), vec![completed]),
        (Query::all().status(json!("Running")), vec![running]),
        (Query::all().status(json!("Pending")), vec![]),
        (Query::all().status(failed_with("")), vec![failed, other]),
        (Query::all().status(failed_with("no disk")), vec![failed]),
        (Query::all().status(failed_with("disk")), vec![]),
        (Query::all().between(minute(2), minute(3)), vec![failed, other]),
        (Query::all().between(minute(5), minute(9)), vec![]),
        (Query::all().flow("b").actor("reader").status(failed_with("")), vec![other]),
        (Query::all().flow("a").actor("reader"), vec![]),
    ];
    for (query, ids) in &cases {
        expect(service, query, ids).await?;
    }
    Ok(())
}

#[tokio::test]
async fn pages_are_newest_first_and_the_total_is_true() -> Result<()> {
    let system = Standalone::start().await?;
    let service = &system.service;
    let mut client = system.connect().await?;
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(record(&mut client, "pages", &[dated(events::actor_created("a"), number)]).await?);
    }
    ids.reverse();
    expect(service, &Query::all().flow("pages"), &ids).await?;

    let page = |limit, offset| Query::all().flow("pages").limit(limit).offset(offset);
    assert_eq!(query(service, &page(10, 0)).await?, (ids[..10].to_vec(), 25));
    assert_eq!(query(service, &page(10, 20)).await?, (ids[20..].to_vec(), 25));
    assert_eq!(query(service, &page(0, 0)).await?, (vec![], 25), "limit 0 only counts");
    assert_eq!(query(service, &page(10, 25)).await?, (vec![], 25), "beyond the end");
    assert_eq!(query(service, &page(u64::MAX >> 1, u64::MAX >> 1)).await?, (vec![], 25), "far beyond the end");
    Ok(())
}

#[tokio::test]
async fn without_a_limit_there_are_a_hundred_and_the_total_is_still_true() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let mut requests = Vec::new();
    for _ in 0..105 {
        let trace_id = Uuid::new_v4();
        requests.push(frames::start_trace_with_id(trace_id, "many"));
        requests.push(frames::record_event(trace_id, &events::actor_created("a")));
    }
    client.ask_all(&requests).await?;
    eventually(patience(), || async {
        let (ids, total) = query(&system.service, &Query::all().flow("many")).await?;
        ensure!((ids.len(), total) == (100, 105), "{} of {total}", ids.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn found_traces_come_with_their_events() -> Result<()> {
    let system = Standalone::start().await?;
    let sent = events::program(12);
    let trace_id = system.store("whole", &sent).await?;
    let whole = system.trace_in(trace_id, &json!("Completed")).await?;
    let answer = system.connect().await?.ask(&frames::query_traces(&Query::all().flow("whole"))).await?;
    assert_eq!(answers::found(&answer)?.0, &vec![whole]);
    Ok(())
}

#[tokio::test]
async fn versions_of_a_flow_are_listed_each_once() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    for (major, flow) in [(1, "v_1763900000"), (2, "v_1763900001"), (2, "v_1763900002"), (9, "another")] {
        let request = frames::start_trace_versioned(flow, &frames::version(major, 0, 3));
        let trace_id = answers::started(&client.ask(&request).await?)?;
        answers::recorded(&client.ask(&frames::record_event(trace_id, &events::actor_created("a"))).await?)?;
    }
    eventually(patience(), || async {
        let answer = client_versions(&system.service, "v").await?;
        ensure!(answer == [(1, 3), (2, 3)], "{answer:?}");
        Ok(())
    })
    .await?;
    assert_eq!(client_versions(&system.service, "unknown").await?, []);
    Ok(())
}

/// (major, patch) of each version of a flow, in ascending order.
async fn client_versions(service: &Service, flow: &str) -> Result<Vec<(u64, u64)>> {
    let answer = service.connect().await?.ask(&frames::get_flow_versions(flow)).await?;
    let list = answer.pointer("/FlowVersions/versions").and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |version: &Value, part: &str| version[part].as_u64().unwrap_or(u64::MAX);
    let mut versions: Vec<_> = list.iter().map(|v| (number(v, "major"), number(v, "patch"))).collect();
    versions.sort_unstable();
    Ok(versions)
}
