//! Which trace an event of a v1 session belongs to, when its program sends each under a fresh random id.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{answers, events, frames};
use serde_json::json;
use uuid::Uuid;

use crate::system::{Standalone, ensure_holds, get, random_ids, record_under};

#[tokio::test]
async fn events_before_and_after_a_start_are_one_trace_under_the_first_id() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (ids, sent) = (random_ids(100), events::program(100));

    record_under(&mut client, &ids[..40], &sent[..40]).await?;
    let started = answers::started(&client.ask(&frames::start_trace("network_session_1763900000")).await?)?;
    record_under(&mut client, &ids[40..], &sent[40..]).await?;

    assert_eq!(started, ids[0], "StartTrace names the trace that is running");
    let trace = system.trace_with(ids[0], 100).await?;
    ensure_holds(&trace, &sent)?;
    assert_eq!(trace["flow_id"], "network_session_1763900000");
    Ok(())
}

#[tokio::test]
async fn a_trace_is_found_by_every_id_that_its_events_were_sent_under() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (ids, sent) = (random_ids(30), events::program(30));
    record_under(&mut client, &ids, &sent).await?;

    let whole = system.trace_with(ids[0], 30).await?;
    for id in &ids {
        assert_eq!(get(&system.service, *id).await?, Some(whole.clone()));
    }
    Ok(())
}

#[tokio::test]
async fn a_start_that_comes_first_names_the_trace_of_all_that_follows() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let started = answers::started(&client.ask(&frames::start_trace("first")).await?)?;
    let sent = events::program(30);
    record_under(&mut client, &random_ids(30), &sent).await?;

    let trace = system.trace_with(started, 30).await?;
    ensure_holds(&trace, &sent)?;
    assert_eq!(trace["trace_id"], json!(started));
    Ok(())
}

#[tokio::test]
async fn a_second_start_begins_the_next_trace() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let sent = events::program(40);
    let one = answers::started(&client.ask(&frames::start_trace("one")).await?)?;
    record_under(&mut client, &random_ids(20), &sent[..20]).await?;
    let two = answers::started(&client.ask(&frames::start_trace("two")).await?)?;
    record_under(&mut client, &random_ids(20), &sent[20..]).await?;

    assert_ne!(one, two);
    let (first, second) = (system.trace_with(one, 20).await?, system.trace_with(two, 20).await?);
    ensure_holds(&first, &sent[..20])?;
    ensure_holds(&second, &sent[20..])?;
    assert_eq!((&first["flow_id"], &second["flow_id"]), (&json!("one"), &json!("two")));
    Ok(())
}

#[tokio::test]
async fn an_id_that_was_started_by_id_is_a_trace_of_its_own_among_adopted_ones() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let own = Uuid::new_v4();
    assert_eq!(answers::started(&client.ask(&frames::start_trace_with_id(own, "own")).await?)?, own);

    let sent = events::program(30);
    let mut ids = random_ids(30);
    ids.iter_mut().step_by(3).for_each(|id| *id = own);
    record_under(&mut client, &ids, &sent).await?;

    let owned: Vec<_> = sent.iter().step_by(3).cloned().collect();
    ensure_holds(&system.trace_with(own, 10).await?, &owned)?;
    let adopted = system.trace_with(ids[1], 20).await?;
    ensure!(answers::by_id(&owned).keys().all(|id| !adopted.to_string().contains(id)), "an owned event was adopted");
    Ok(())
}

/// Each event is acknowledged before the next is sent, so that none are gathered together.
#[tokio::test]
async fn a_later_repeat_of_an_unknown_id_ends_adoption() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (ids, sent) = (random_ids(3), events::program(4));
    for (id, event) in [0, 1, 1, 2].iter().zip(&sent) {
        answers::recorded(&client.ask(&frames::record_event(ids[*id], event)).await?)?;
    }
    ensure_holds(&system.trace_with(ids[0], 2).await?, &sent[..2])?;
    ensure_holds(&system.trace_with(ids[1], 1).await?, &sent[2..3])?;
    ensure_holds(&system.trace_with(ids[2], 1).await?, &sent[3..])
}

#[tokio::test]
async fn two_sessions_of_one_flow_are_two_traces() -> Result<()> {
    let system = Standalone::start().await?;
    let (mut one, mut two) = (system.connect().await?, system.connect().await?);
    let (sent_one, sent_two) = (events::program(20), events::program(20));
    let (ids_one, ids_two) = (random_ids(20), random_ids(20));
    for client in [&mut one, &mut two] {
        answers::started(&client.ask(&frames::start_trace("network_session_1763900000")).await?)?;
    }
    tokio::try_join!(record_under(&mut one, &ids_one, &sent_one), record_under(&mut two, &ids_two, &sent_two))?;
    ensure_holds(&system.trace_with(ids_one[0], 20).await?, &sent_one)?;
    ensure_holds(&system.trace_with(ids_two[0], 20).await?, &sent_two)
}

#[tokio::test]
async fn a_program_that_hangs_up_has_completed() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let ids = random_ids(10);
    record_under(&mut client, &ids, &events::program(10)).await?;
    assert_eq!(system.trace_with(ids[0], 10).await?["status"], "Running");
    client.hang_up();
    system.trace_in(ids[0], &json!("Completed")).await?;
    Ok(())
}

#[tokio::test]
async fn a_program_that_says_goodbye_after_a_failure_has_failed() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let ids = random_ids(3);
    let sent = [events::actor_created("a"), events::actor_failed("a", "no disk"), events::actor_completed("b")];
    record_under(&mut client, &ids, &sent).await?;
    client.close().await?;
    system.trace_in(ids[0], &json!({"Failed": {"error": "no disk"}})).await?;
    Ok(())
}

#[tokio::test]
async fn a_close_by_the_server_ends_no_trace() -> Result<()> {
    let mut system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let ids = random_ids(10);
    record_under(&mut client, &ids, &events::program(10)).await?;

    let (status, _) = tokio::try_join!(system.service.terminate(), client.ending())?;
    ensure!(status.success(), "a drain ended with {status}");
    system.service.restart().await?;
    assert_eq!(system.trace_with(ids[0], 10).await?["status"], "Running");
    Ok(())
}
