//! Asks history and gathers the answer.
//!
//! An answer is gathered whole before its first byte is sent: a query service that dies in the middle is then a refusal in the
//! answer's place, and not half a frame.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use reflow_tracing_bus::{BusError, BusErrorKind};
use reflow_tracing_protocol::wire::Code;
use serde_json::value::RawValue;

use crate::answer::{Answer, Refusal};
use crate::ask::{Ask, Dialect, Question};
use crate::capabilities::Shared;

/// Answers up to this size are gathered freely; larger ones take turns, a few at once in a process.
const LARGE_BYTES: usize = 1 << 20;

/// Asks, and answers in any case within `history_timeout`.
pub(crate) async fn ask(shared: Arc<Shared>, dialect: Dialect, ask: Ask, request_id: Option<Box<RawValue>>) -> Answer {
    let limits = &shared.limits;
    let asked = gather(&shared, dialect, ask, request_id.clone());
    let (result, answer) = match tokio::time::timeout(limits.history_timeout, asked).await {
        Ok(Ok(pieces)) => ("answered", Answer::Pieces(pieces)),
        Ok(Err(refusal)) => (refusal.reason, refusal.answer(dialect, None, request_id)),
        Err(_) => {
            let seconds = limits.history_timeout.as_secs();
            let message =
                format!("history did not answer within {seconds} s (history_timeout); ask again or ask for less");
            let refusal = Refusal::new(Code::Timeout, "history_timeout", message).retryable();
            (refusal.reason, refusal.answer(dialect, None, request_id))
        }
    };
    shared.metrics.questions.with_label_values(&[result]).inc();
    answer
}

async fn gather(
    shared: &Shared,
    dialect: Dialect,
    ask: Ask,
    request_id: Option<Box<RawValue>>,
) -> Result<Vec<Bytes>, Refusal> {
    let Some(history) = &shared.capabilities.history else {
        return Err(Refusal::new(Code::Unsupported, "no_history", "this service answers no questions"));
    };
    let max_answer_bytes = shared.limits.max_answer_bytes;
    let question = Question { tenant: shared.limits.tenant.clone(), dialect, request_id, max_answer_bytes, ask };
    let question = serde_json::to_vec(&question)
        .map_err(|error| Refusal::new(Code::InternalError, "question", error.to_string()))?;
    let mut stream = history.ask(question.into(), shared.limits.history_timeout).await.map_err(unanswered)?;
    let mut pieces = Vec::new();
    let mut bytes = 0;
    let mut turn = None;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(unanswered)?;
        bytes += piece.len();
        if bytes > max_answer_bytes + LARGE_BYTES {
            return Err(Refusal::new(Code::InternalError, "answer_size", "history answered more than it may"));
        }
        if bytes > LARGE_BYTES && turn.is_none() {
            turn = shared.large_answers.acquire().await.ok();
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

pub(crate) fn unanswered(error: BusError) -> Refusal {
    tracing::warn!(%error, "history did not answer");
    match error.kind {
        BusErrorKind::Timeout => {
            Refusal::new(Code::Timeout, "history_timeout", "history took too long; ask again").retryable()
        }
        BusErrorKind::Unavailable | BusErrorKind::Closed | BusErrorKind::Setup => Refusal::new(
            Code::Unavailable,
            "history_unavailable",
            "no query service answers at the moment; ask again (is a reflow-query running on the same bus?)",
        )
        .retryable(),
        _ => Refusal::new(Code::InternalError, "history_failed", "history could not be read"),
    }
}
