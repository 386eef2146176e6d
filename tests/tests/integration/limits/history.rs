//! `history_timeout`: answers come in order, and a question that nobody answers holds back those behind it no longer than that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, Cluster, answers, events, frames};
use serde_json::{Value, json};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(3);
/// In one write, and asked at the same time: together they take as long as one.
const QUESTIONS: usize = 5;

/// The query service stands still: it neither answers, nor does the bus say that nobody is there.
async fn without_an_answer() -> Result<Cluster> {
    let cluster = Cluster::build()
        .env("REFLOW_TRACING_LIMITS__HISTORY_TIMEOUT_SECS", TIMEOUT.as_secs().to_string())
        .start()
        .await?;
    cluster.queries[0].pause().await?;
    Ok(cluster)
}

/// Events before and behind questions that get no answer: the answers in their order, and when each came.
async fn record_around_questions(client: &mut Client, trace_id: Uuid) -> Result<Vec<(Value, Duration)>> {
    let mut requests = vec![frames::record_event(trace_id, &events::actor_created("before"))];
    requests.extend(vec![frames::get_trace(trace_id); QUESTIONS]);
    requests.push(frames::record_event(trace_id, &events::actor_completed("behind")));
    let began = Instant::now();
    for request in &requests {
        client.feed_text(request.to_string()).await?;
    }
    client.flush().await?;
    let mut answers = Vec::new();
    for request in &requests {
        let answer = client.recv_json().await.with_context(|| format!("no answer to {request:.100}"))?;
        answers.push((answer, began.elapsed()));
    }
    Ok(answers)
}

async fn acks_wait_no_longer_than_the_limit(cluster: &Cluster, mut client: Client, code: &str) -> Result<()> {
    let trace_id = Uuid::new_v4();
    let answers = record_around_questions(&mut client, trace_id).await?;
    let (before, at) = &answers[0];
    answers::recorded(before)?;
    ensure!(*at < TIMEOUT, "the ack before the questions took {at:?}");
    for (answer, _) in &answers[1..=QUESTIONS] {
        let reason = answers::refusal(answer)?;
        ensure!(reason.contains("history_timeout") && reason.contains(&TIMEOUT.as_secs().to_string()), "{reason}");
        ensure!(answer["Error"]["code"] == code, "{answer}");
    }
    let (behind, at) = &answers[QUESTIONS + 1];
    answers::recorded(behind)?;
    ensure!(*at >= TIMEOUT, "an answer came out of its order after {at:?}");
    ensure!(*at < 2 * TIMEOUT, "{QUESTIONS} questions held an ack back for {at:?}");

    // The session goes on, and what was acknowledged is there.
    cluster.queries[0].resume()?;
    cluster.trace_with(trace_id, 2).await?;
    assert_eq!(client.ask(&frames::ping()).await?, "Pong");
    let answer = client.ask(&frames::get_trace(trace_id)).await?;
    ensure!(answers::events(answers::trace(&answer)?.context("no such trace")?)?.len() == 2, "{answer:.300}");
    Ok(())
}

#[tokio::test]
async fn a_question_nobody_answers_holds_v1_acks_back_no_longer_than_the_limit() -> Result<()> {
    let cluster = without_an_answer().await?;
    let client = cluster.collectors[0].connect().await?;
    acks_wait_no_longer_than_the_limit(&cluster, client, "InternalError").await
}

#[tokio::test]
async fn a_question_nobody_answers_holds_v2_acks_back_no_longer_than_the_limit() -> Result<()> {
    let cluster = without_an_answer().await?;
    let client = cluster.collectors[0].connect_v2().await?;
    acks_wait_no_longer_than_the_limit(&cluster, client, "Timeout").await
}

/// v2 tells which question it was and that it may be asked again; lists are held to the same limit as traces.
#[tokio::test]
async fn a_v2_client_is_told_that_it_may_ask_again() -> Result<()> {
    let cluster = without_an_answer().await?;
    let mut client = cluster.collectors[0].connect_v2().await?;
    let mut query = frames::query_traces(&frames::Query::all());
    query["QueryTraces"]["request_id"] = json!("list");
    for (question, request_id) in [(query, json!("list")), (frames::get_flow_versions("any"), Value::Null)] {
        let answer = client.ask(&question).await?;
        answers::refusal(&answer)?;
        let error = &answer["Error"];
        ensure!(error["retryable"] == true && error["request_id"] == request_id, "{answer}");
    }
    Ok(())
}
