//! Clients that have everything ready before the clock starts, and keep their connections full.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reflow_tracing_tests::{Client, answers, events, frames, frames::Batch};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

const BATCH_EVENTS: usize = 200;
const TRACE_EVENTS: usize = 10_000;
/// Batches that a sender has under way.
const BATCH_WINDOW: usize = 32;
/// Single events that a sender has under way, and how many it sends in one write.
const EVENT_WINDOW: usize = 2_000;
const WRITE_EVENTS: usize = 100;

pub fn batches(count: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for number in 0..count / BATCH_EVENTS {
        let events = events::program(BATCH_EVENTS);
        batches.push(match batches.last() {
            Some(last) if number % (TRACE_EVENTS / BATCH_EVENTS) != 0 => last.next(events),
            _ => Batch::new("performance", events),
        });
    }
    batches
}

/// Batches as frames, compressed.
pub fn frames_of(batches: &[Batch]) -> Vec<Bytes> {
    batches.iter().map(|batch| batch.frame().into()).collect()
}

/// Sends all batches, each once, shared out among senders; each is acknowledged whole.
pub async fn send_batches(url: &str, senders: usize, batches: &[Batch], frames: &[Bytes]) -> Result<()> {
    let share = batches.len().div_ceil(senders);
    let shares = batches.chunks(share).zip(frames.chunks(share)).map(async |(share, frames)| {
        let mut client = Client::connect_v2(url).await?;
        let mut acked = 0;
        for (sent, frame) in frames.iter().enumerate() {
            client.send_binary(frame.clone()).await?;
            while sent + 1 - acked >= BATCH_WINDOW {
                expect_recorded(&mut client, &share[acked]).await?;
                acked += 1;
            }
        }
        for batch in &share[acked..] {
            expect_recorded(&mut client, batch).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(shares).await?;
    Ok(())
}

async fn expect_recorded(client: &mut Client, batch: &Batch) -> Result<()> {
    let answer = client.recv_json().await?;
    let recorded = answers::batch_recorded(&answer, batch.batch_id)?;
    ensure!(recorded == (batch.events.len() as u64, vec![]), "{answer:.300}");
    Ok(())
}

/// The events of a trace as frames, one each.
pub fn frames_of_events(trace_id: Uuid, events: &[Value]) -> Vec<Utf8Bytes> {
    events.iter().map(|event| frames::record_event(trace_id, event).to_string().into()).collect()
}

/// Sends each trace on a connection of its own, one event a frame; each is acknowledged.
pub async fn send_events(url: &str, traces: &[(Uuid, Vec<Utf8Bytes>)]) -> Result<()> {
    let senders = traces.iter().map(async |(trace_id, frames)| {
        let mut client = Client::connect(url).await?;
        answers::started(&client.ask(&frames::start_trace_with_id(*trace_id, "performance")).await?)?;
        let mut under_way = 0;
        for some in frames.chunks(WRITE_EVENTS) {
            for frame in some {
                client.feed_text(frame.clone()).await?;
            }
            client.flush().await?;
            under_way += some.len();
            while under_way > EVENT_WINDOW {
                answers::recorded(&client.recv_json().await?)?;
                under_way -= 1;
            }
        }
        while under_way > 0 {
            answers::recorded(&client.recv_json().await.with_context(|| format!("{under_way} to come"))?)?;
            under_way -= 1;
        }
        anyhow::Ok(())
    });
    try_join_all(senders).await?;
    Ok(())
}
