//! What one session waits for, nobody else waits for: while it is stuck, its own work goes on and gives back what others need.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Client, Service, answers, events, eventually,
    frames::{self, Batch, Query},
    patience,
};
use serde_json::json;
use tokio::time::timeout;

use crate::system::{record, trace_with};

/// Far less than what others waited when a stuck session's questions kept their connections to the store.
const PROMPT: Duration = Duration::from_secs(5);
/// Of one session, in one write: more than there are connections to the store.
const AT_ONCE: usize = 40;
const ROUNDS: usize = 50;

async fn answered_promptly(bystander: &mut Client) -> Result<()> {
    for round in 0..ROUNDS {
        let answer = timeout(PROMPT, bystander.ask(&frames::query_traces(&Query::all().limit(1)))).await;
        let answer = answer.with_context(|| format!("question {round} was not answered within {PROMPT:?}"))??;
        answers::found(&answer)?;
    }
    Ok(())
}

#[tokio::test]
async fn unread_answers_keep_nobody_from_asking() -> Result<()> {
    let service = Service::standalone().env("REFLOW_TRACING_LIMITS__WRITE_TIMEOUT_SECS", "60").start().await?;
    let mut stuck = service.connect_v2().await?;
    let sent: Vec<_> = (0..20).map(|_| events::large(100_000)).collect();
    let trace_id = record(&mut service.connect().await?, "large", &sent).await?;
    trace_with(&service, trace_id, sent.len()).await?;
    for _ in 0..AT_ONCE {
        stuck.feed_text(frames::get_trace(trace_id).to_string()).await?;
    }
    stuck.flush().await?;
    // The sockets are full: nothing more goes out.
    let before = AtomicU64::new(0);
    eventually(patience(), || async {
        let sent = service.metric("reflow_session_sent_bytes_total").await?.unwrap_or_default() as u64;
        let last = before.swap(sent, Ordering::Relaxed);
        ensure!(sent > 1 << 20 && sent == last, "{last} bytes were sent, then {sent}");
        Ok(())
    })
    .await?;
    answered_promptly(&mut service.connect().await?).await?;
    drop(stuck);
    Ok(())
}

#[tokio::test]
async fn a_filter_that_asks_for_statuses_keeps_nobody_from_asking() -> Result<()> {
    let service = Service::standalone().start().await?;
    let mut watcher = service.connect_v2().await?;
    watcher.ask(&frames::subscribe(&json!({"status_filter": ["Running"]}))).await?;
    let mut program = service.connect_v2().await?;
    let new_traces = async {
        loop {
            let batch = Batch::new("watched", events::program(3));
            answers::batch_recorded(&program.ask(&batch.request()).await?, batch.batch_id)?;
        }
    };
    let questions = async {
        loop {
            let question = frames::query_traces(&Query::all().limit(20)).to_string();
            for _ in 0..AT_ONCE {
                watcher.feed_text(question.clone()).await?;
            }
            watcher.flush().await?;
            let mut answers = 0;
            while answers < AT_ONCE {
                answers += usize::from(watcher.recv_json().await?.get("QueryResults").is_some());
            }
        }
    };
    let mut bystander = service.connect().await?;
    let (new_traces, questions): (Result<()>, Result<()>) = tokio::select! {
        biased;
        prompt = answered_promptly(&mut bystander) => return prompt,
        ended = new_traces => (ended, Ok(())),
        ended = questions => (Ok(()), ended),
    };
    bail!("the load ended: {new_traces:?}, {questions:?}")
}
