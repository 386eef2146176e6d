//! `write_timeout`: who stops reading, or stops in the middle of a frame, is closed, and nobody else is slowed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Ending, Service, ServiceBuilder, answers, events, eventually,
    frames::{self, Batch},
    patience,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{connect, ended, ensure_goodbye, seconds, sent_until_the_end};
use crate::system::{record, trace_with};

const TIMEOUT: Duration = Duration::from_secs(1);
const EVENT_BYTES: usize = 100_000;
/// Together the answers are far more than the sockets between the server and a client hold.
const QUESTIONS: usize = 60;
const EVENTS: usize = 200;
const FRAME_BYTES: u64 = 1 << 20;
const HELD: &str = "reflow_session_budget_bytes";

fn impatient() -> ServiceBuilder {
    Service::standalone()
        .env("REFLOW_TRACING_LIMITS__WRITE_TIMEOUT_SECS", seconds(TIMEOUT))
        .env("REFLOW_TRACING_LIMITS__PING_INTERVAL_SECS", "1")
}

/// Returns once a gauge has this value.
async fn gauge(service: &Service, name: &str, expected: u64) -> Result<()> {
    eventually(patience(), || async {
        let value = service.metric(name).await?;
        ensure!(value == Some(expected as f64), "{name} is {value:?}, not {expected}");
        Ok(())
    })
    .await
}

/// There was no goodbye to be had in the middle of an answer.
async fn ensure_cut_off(mut client: Client) -> Result<()> {
    let ending = client.ending().await?;
    ensure!(!matches!(ending, Ending::Closed(Some(_))), "{ending:?}");
    Ok(())
}

#[tokio::test]
async fn who_does_not_take_answers_is_closed_and_what_he_sent_is_kept() -> Result<()> {
    let service = impatient().start().await?;
    for (round, v2) in [(1.0, false), (2.0, true)] {
        let mut stuck = connect(&service, v2).await?;
        let sent: Vec<Value> = (0..9).map(|_| events::large(EVENT_BYTES)).collect();
        let trace_id = record(&mut stuck, "stuck", &sent).await?;
        trace_with(&service, trace_id, 9).await?;
        let last = events::actor_completed("stuck");
        let began = Instant::now();
        stuck.feed_text(frames::record_event(trace_id, &last).to_string()).await?;
        for _ in 0..QUESTIONS {
            stuck.feed_text(frames::get_trace(trace_id).to_string()).await?;
        }
        stuck.flush().await?;

        ended(&service, "slow", round).await?;
        ensure!(began.elapsed() >= TIMEOUT, "closed after {:?}", began.elapsed());
        ensure_cut_off(stuck).await?;
        // Also the event whose ack nobody took; and what the server ended is no end of the trace.
        let trace = trace_with(&service, trace_id, 10).await?;
        assert_eq!(trace["status"], "Running");
        ensure!(answers::events(&trace)?.contains_key(events::id(&last)), "it was read and is not there");
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_who_stops_reading_is_closed_and_slows_nobody() -> Result<()> {
    let service = impatient().start().await?;
    for (round, v2) in [(1.0, false), (2.0, true)] {
        let mut stuck = connect(&service, v2).await?;
        stuck.send_json(&frames::subscribe(&json!({}))).await?;
        stuck.recv_json().await?;
        let mut program = service.connect_v2().await?;
        let mut batch = Batch::new("watched", vec![events::large(EVENT_BYTES)]);
        for _ in 0..EVENTS {
            program.send_binary(batch.frame()).await?;
            answers::batch_recorded(&program.recv_json().await?, batch.batch_id)?;
            batch = batch.next(vec![events::large(EVENT_BYTES)]);
        }
        ended(&service, "slow", round).await?;
        ensure_cut_off(stuck).await?;
        gauge(&service, "reflow_session_live_viewers", 0).await?;
        assert_eq!(program.ask(&frames::ping()).await?, "Pong");
    }
    Ok(())
}

/// A large frame holds its bytes of the budget that all sessions share, so it must not stay half sent.
#[tokio::test]
async fn who_does_not_finish_a_large_frame_is_told_so_and_closed() -> Result<()> {
    let service = impatient().start().await?;
    for (round, v2) in [(1.0, false), (2.0, true)] {
        let mut socket = connect(&service, v2).await?.into_socket();
        // RFC 6455, section 5.2: a text frame of 1 MiB, masked with zeros, of which a tenth is sent.
        let mut part = vec![0x81, 0x80 | 127];
        part.extend(FRAME_BYTES.to_be_bytes());
        part.extend([0; 4]);
        part.resize(100_000, b' ');
        socket.get_mut().write_all(&part).await.context("the server does not read")?;
        gauge(&service, HELD, FRAME_BYTES).await?;
        ensure_goodbye(&sent_until_the_end(socket).await?, "write_timeout")?;
        ended(&service, "slow_frame", round).await?;
        gauge(&service, HELD, 0).await?;
    }
    Ok(())
}
