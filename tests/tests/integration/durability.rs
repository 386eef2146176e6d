//! An acknowledgement means durable: it survives kill -9 of the process, at any moment.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, events, frames};
use serde_json::Value;
use uuid::Uuid;

use crate::system::{Standalone, ensure_holds, get, random_ids, record_under};

#[tokio::test]
async fn everything_acknowledged_survives_kill_9() -> Result<()> {
    let mut system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (ids, sent) = (random_ids(500), events::program(500));
    record_under(&mut client, &ids, &sent).await?;

    system.service.kill9().await?;
    system.service.restart().await?;
    ensure_holds(&system.trace_with(ids[0], 500).await?, &sent)
}

/// Killed under load, again and again: acked ⊆ stored ⊆ sent, and nothing twice.
#[tokio::test]
async fn nothing_acknowledged_is_lost_when_killed_under_load() -> Result<()> {
    let mut system = Standalone::start().await?;
    for round in 0..5_usize {
        let mut client = system.connect().await?;
        let trace_id = Uuid::new_v4();
        answers::started(&client.ask(&frames::start_trace_with_id(trace_id, "load")).await?)?;
        let sent = events::program(2_000);
        for event in &sent {
            client.feed_text(frames::record_event(trace_id, event).to_string()).await?;
        }
        client.flush().await?;

        // Killed after so many answers; those that were on their way count as acknowledged too.
        let mut acknowledged = 0_usize;
        while acknowledged < 1 + round * 300 {
            answers::recorded(&client.recv_json().await?)?;
            acknowledged += 1;
        }
        system.service.kill9().await?;
        while let Ok(answer) = client.recv_json().await {
            answers::recorded(&answer)?;
            acknowledged += 1;
        }

        system.service.restart().await?;
        let trace = get(&system.service, trace_id).await?.context("the trace is gone")?;
        let (stored, known) = (answers::events(&trace)?, answers::by_id(&sent));
        for event in &sent[..acknowledged] {
            ensure!(stored.contains_key(events::id(event)), "round {round}: an acknowledged event is gone");
        }
        ensure!(
            stored.iter().all(|(id, event)| known.get(id) == Some(event)),
            "round {round}: stored what nobody sent"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_terminated_service_answers_what_it_took_and_exits_cleanly() -> Result<()> {
    let mut system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (ids, sent) = (random_ids(1_000), events::program(1_000));
    for (id, event) in ids.iter().zip(&sent) {
        client.feed_text(frames::record_event(*id, event).to_string()).await?;
    }
    client.flush().await?;
    answers::recorded(&client.recv_json().await?)?;

    let draining = async {
        let mut acknowledged = 1;
        while let Ok(answer) = client.recv_json().await {
            answers::recorded(&answer)?;
            acknowledged += 1;
        }
        anyhow::Ok(acknowledged)
    };
    let (status, acknowledged) = tokio::try_join!(system.service.terminate(), draining)?;
    ensure!(status.success(), "it ended with {status}");

    system.service.restart().await?;
    let trace: Value = get(&system.service, ids[0]).await?.context("the trace is gone")?;
    let stored = answers::events(&trace)?;
    ensure!(stored.len() >= acknowledged, "{} events stored, {acknowledged} acknowledged", stored.len());
    ensure!(
        sent[..acknowledged].iter().all(|event| stored.contains_key(events::id(event))),
        "an acknowledged event is gone"
    );
    Ok(())
}
