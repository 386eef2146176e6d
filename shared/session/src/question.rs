//! Asks history and gathers the answer.
//!
//! An answer is gathered whole before its first byte is sent: a query service that dies in the middle is then a refusal in the
//! answer's place, and not half a frame.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use reflow_tracing_bus::{BusError, BusErrorKind, Patience};
use reflow_tracing_protocol::wire::Code;
use reflow_tracing_service::{spans, work_span};
use serde_json::value::RawValue;
use tracing::Instrument;

use crate::answer::{Answer, Refusal};
use crate::ask::{Ask, Dialect, Question};
use crate::capabilities::Shared;
use crate::limits::SessionLimits;

/// Answers up to this size are gathered freely; larger ones take turns, a few at once in a process.
const LARGE_BYTES: usize = 1 << 20;

/// Asks, and answers in any case within `history_timeout`.
pub(crate) async fn ask(shared: Arc<Shared>, dialect: Dialect, ask: Ask, request_id: Option<Box<RawValue>>) -> Answer {
    let patience = shared.limits.history_timeout;
    let kind = ask.kind();
    let asked = tokio::time::timeout(patience, gather(&shared, dialect, ask, request_id.clone()));
    let outcome = in_span(kind, async { asked.await.unwrap_or_else(|_| Err(late(&shared.limits))) });
    let outcome = outcome.await;
    shared.metrics.questions.with_label_values(&[result(&outcome)]).inc();
    match outcome {
        Ok(pieces) => Answer::Pieces(pieces),
        Err(refusal) => refusal.answer(dialect, None, request_id),
    }
}

/// Asks within a span of its own: what answers goes on in it, in this process or another.
pub(crate) async fn in_span<T>(
    kind: &'static str,
    asking: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let span = work_span!("ask", otel.kind = "client", reflow.question = kind);
    let outcome = asking.instrument(span.clone()).await;
    spans::ended(&span, result(&outcome), outcome.is_err());
    outcome
}

fn result<T>(outcome: &Result<T, Refusal>) -> &'static str {
    outcome.as_ref().err().map_or("answered", |refusal| refusal.reason)
}

/// A question as history reads it.
pub(crate) fn encode(
    shared: &Shared,
    dialect: Dialect,
    request_id: Option<Box<RawValue>>,
    ask: Ask,
) -> Result<Bytes, Refusal> {
    let limits = &shared.limits;
    let question = Question {
        tenant: limits.tenant.clone(),
        dialect,
        request_id,
        max_answer_bytes: limits.max_answer_bytes,
        traceparent: spans::traceparent(),
        ask,
    };
    let question = serde_json::to_vec(&question);
    question.map(Bytes::from).map_err(|error| Refusal::new(Code::InternalError, "question", error.to_string()))
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
    let question = encode(shared, dialect, request_id, ask)?;
    let unanswered = |error| unanswered(&shared.limits, error);
    let mut stream = history.ask(question, Patience::Whole(shared.limits.history_timeout)).await.map_err(unanswered)?;
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

/// The session's own clock and the bus's run out in the same moment: whichever is first, the answer is the same.
fn late(limits: &SessionLimits) -> Refusal {
    let seconds = limits.history_timeout.as_secs();
    let message = format!("history did not answer in time (history_timeout is {seconds} s); ask again or ask for less");
    Refusal::new(Code::Timeout, "history_timeout", message).retryable()
}

pub(crate) fn unanswered(limits: &SessionLimits, error: BusError) -> Refusal {
    tracing::warn!(%error, "history did not answer");
    match error.kind {
        BusErrorKind::Timeout => late(limits),
        BusErrorKind::Unavailable | BusErrorKind::Closed | BusErrorKind::Setup => Refusal::new(
            Code::Unavailable,
            "history_unavailable",
            "no query service answers at the moment; ask again (is a reflow-query running on the same bus?)",
        )
        .retryable(),
        BusErrorKind::TooLarge => {
            Refusal::new(Code::LimitExceeded, "question_size", format!("too large for the bus: {}", error.reason))
        }
        _ => Refusal::new(Code::InternalError, "history_failed", "history could not be read"),
    }
}
