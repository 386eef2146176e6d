//! Large answers from history, to somebody who asks for many and does not take them yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use reflow_tracing_bus::{AnswerStream, BusError, HistoryClient, Patience};
use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Client, Fixture, PATIENCE, start};

const PIECE: usize = 256 << 10;
const PIECES: usize = 64;
const ANSWER: usize = PIECE * PIECES;
const QUESTIONS: usize = 8;

/// Answers everything at length, and counts. The first question is answered last, as if it were the hardest, and not before it may be.
#[derive(Default)]
struct LongHistory {
    may: Notify,
    asked: AtomicUsize,
    made: Arc<AtomicUsize>,
    /// Answers that were read to their end or given up.
    over: Arc<AtomicUsize>,
}

struct Over(Arc<AtomicUsize>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl LongHistory {
    /// Returns once so many answers are over.
    async fn are_over(&self, count: usize) {
        while self.over.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl HistoryClient for LongHistory {
    async fn ask(&self, _: Bytes, _: Patience) -> Result<AnswerStream, BusError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            self.are_over(QUESTIONS - 1).await;
            self.may.notified().await;
        }
        let (made, over) = (Arc::clone(&self.made), Over(Arc::clone(&self.over)));
        let pieces = stream::iter(0..PIECES).map(move |_| {
            let _until_dropped = &over;
            made.fetch_add(PIECE, Ordering::SeqCst);
            Ok(Bytes::from(vec![b' '; PIECE]))
        });
        Ok(pieces.boxed())
    }
}

fn question() -> String {
    json!({"GetTrace": {"trace_id": Uuid::nil()}}).to_string()
}

/// A session that has asked for all of it and sent one frame more, when all but the first answer, which is being sent, were given up.
/// What it sends is not durable before the gate is opened.
async fn asked(history: &Arc<LongHistory>, and: &Value) -> (Fixture, Client) {
    let limits = SessionLimits { max_answer_bytes: ANSWER, ..SessionLimits::default() };
    let fixture = Fixture::with_history(limits, history.clone()).await;
    fixture.gate.send(false).unwrap();
    let mut client = fixture.v2().await;
    for _ in 0..QUESTIONS {
        client.0.feed(Message::text(question())).await.unwrap();
    }
    client.send(and).await;
    // While it sends an answer that nobody reads, the session takes no frame more.
    let sent = QUESTIONS * question().len() + and.to_string().len();
    fixture.becomes("reflow_session_received_bytes_total", sent as f64).await;
    history.may.notify_one();
    let over = tokio::time::timeout(PATIENCE, history.are_over(QUESTIONS)).await;
    over.expect("not all are gathered or given up");
    (fixture, client)
}

#[tokio::test]
async fn only_the_answer_whose_turn_has_come_is_gathered_whole() {
    let history = Arc::new(LongHistory::default());
    let (_fixture, mut client) = asked(&history, &json!("Ping")).await;
    // Of the others no more than it takes to see that they are large.
    let made = history.made.load(Ordering::SeqCst);
    assert!(made <= ANSWER + (QUESTIONS - 1) * (1 << 20) + QUESTIONS * PIECE, "{made} bytes were gathered");

    for _ in 0..QUESTIONS {
        let answer = client.message().await.expect("the session ended");
        assert_eq!(answer.len(), ANSWER);
    }
    assert_eq!(client.receive().await, json!("Pong"));
    assert_eq!(history.asked.load(Ordering::SeqCst), 2 * QUESTIONS - 1, "each but the first is asked for again");
}

#[tokio::test]
async fn who_has_gone_is_not_answered_at_length() {
    let history = Arc::new(LongHistory::default());
    let (fixture, client) = asked(&history, &json!("Ping")).await;
    drop(client);
    fixture.becomes("reflow_session_connections", 0.0).await;
    assert!(history.made.load(Ordering::SeqCst) < 3 * ANSWER, "answers to nobody");
}

/// A session that is busy with a peer who does not read gives back what is durable all the same.
#[tokio::test]
async fn who_does_not_read_holds_no_bytes_of_what_is_durable() {
    const HELD: &str = "reflow_session_budget_bytes";
    let history = Arc::new(LongHistory::default());
    let mut started = start("flow");
    started["StartTrace"]["version"]["git_hash"] = json!("n".repeat(300_000));
    let (fixture, _client) = asked(&history, &started).await;
    // The questions that wait for their turn.
    let questions = (QUESTIONS - 1) * question().len();
    fixture.becomes(HELD, (questions + started.to_string().len()) as f64).await;
    fixture.gate.send(true).unwrap();
    fixture.becomes(HELD, questions as f64).await;
}
