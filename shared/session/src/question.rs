//! Asks history and gathers the answer.
//!
//! An answer is gathered whole before its first byte is sent: a query service that dies in the middle is then a refusal in the
//! answer's place, and not half a frame.
//!
//! What is gathered waits until its turn in the session comes, and then for a peer who may be slow. So a large answer is gathered
//! only when its turn has come, and has taken room that all sessions share, which it gives back as it is sent. Found to be large
//! before, it is given up, which gives its place at the query service back, and asked for again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use reflow_tracing_bus::{BusError, BusErrorKind, Patience};
use reflow_tracing_protocol::wire::Code;
use reflow_tracing_service::{spans, work_span};
use serde_json::value::RawValue;
use tracing::Instrument;

use crate::answer::{Answer, Pieces, Refusal};
use crate::ask::{Ask, Dialect, Question};
use crate::budget::Taken;
use crate::capabilities::Shared;
use crate::limits::SessionLimits;
use crate::pending::Turn;

/// Answers up to this size are gathered freely.
const LARGE_BYTES: usize = 1 << 20;

/// Asks, and answers in any case within `history_timeout`; a large answer, which waits for its turn, within as long from that on. So what stands
/// behind it waits no longer for it.
pub(crate) async fn ask(
    shared: Arc<Shared>,
    dialect: Dialect,
    ask: Ask,
    request_id: Option<Box<RawValue>>,
    turn: Turn,
) -> Answer {
    let kind = ask.kind();
    let asking = async {
        let question = encode(&shared, dialect, request_id.clone(), ask)?;
        whole(&shared, question, turn).await
    };
    let outcome = in_span(kind, asking).await;
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

async fn whole(shared: &Shared, question: Bytes, turn: Turn) -> Result<Pieces, Refusal> {
    let mut its_turn = turn.clone();
    let too_late = async {
        its_turn.come().await;
        tokio::time::sleep(shared.limits.history_timeout).await;
    };
    tokio::select! {
        biased;
        outcome = in_turn(shared, question, turn) => outcome,
        () = too_late => Err(late(&shared.limits)),
    }
}

async fn in_turn(shared: &Shared, question: Bytes, mut turn: Turn) -> Result<Pieces, Refusal> {
    let first = gather(shared, question.clone(), &turn, None);
    let first = tokio::time::timeout(shared.limits.history_timeout, first).await;
    if let Some(pieces) = first.map_err(|_| late(&shared.limits))?? {
        return Ok(pieces);
    }
    let gone = || Refusal::new(Code::InternalError, "question", "the session has ended");
    if !turn.come().await {
        return Err(gone());
    }
    let room = shared.answers.take(shared.limits.max_answer_bytes).await;
    gather(shared, question, &turn, room).await?.ok_or_else(gone)
}

/// The whole answer; `None` for a large one that has no `room`, and there is none to be had at once or it is not its turn.
async fn gather(
    shared: &Shared,
    question: Bytes,
    turn: &Turn,
    mut room: Option<Taken>,
) -> Result<Option<Pieces>, Refusal> {
    let Some(history) = &shared.capabilities.history else {
        return Err(Refusal::new(Code::Unsupported, "no_history", "this service answers no questions"));
    };
    let max_answer_bytes = shared.limits.max_answer_bytes;
    let unanswered = |error| unanswered(&shared.limits, error);
    let mut stream = history.ask(question, Patience::Whole(shared.limits.history_timeout)).await.map_err(unanswered)?;
    let mut pieces = Vec::new();
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(unanswered)?;
        bytes += piece.len();
        if bytes > max_answer_bytes + LARGE_BYTES {
            return Err(Refusal::new(Code::InternalError, "answer_size", "history answered more than it may"));
        }
        if bytes > LARGE_BYTES && room.is_none() {
            room = if turn.has_come() { shared.answers.try_take(max_answer_bytes) } else { None };
            if room.is_none() {
                return Ok(None);
            }
        }
        pieces.push(piece);
    }
    Ok(Some(Pieces { pieces, taken: room.map(|room| room.trimmed(bytes)) }))
}

/// The session's own clock and the bus's run out in the same moment: whichever is first, the answer is the same.
pub(crate) fn late(limits: &SessionLimits) -> Refusal {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use reflow_tracing_bus::{AnswerStream, HistoryClient};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::pending::Pending;

    const THINKS: Duration = Duration::from_secs(20);

    /// Answers at length, after a while.
    struct Slow;

    #[async_trait::async_trait]
    impl HistoryClient for Slow {
        async fn ask(&self, _: Bytes, _: Patience) -> Result<AnswerStream, BusError> {
            sleep(THINKS).await;
            Ok(stream::iter([Ok(Bytes::from(vec![b' '; 2 * LARGE_BYTES]))]).boxed())
        }
    }

    /// Asks a session's second question while others have all the room; the seconds until it was refused, and why. The first is answered after `first`.
    async fn refused(first: Duration) -> (u64, &'static str) {
        let shared = Shared::for_test(Some(Arc::new(Slow)));
        let _others = shared.answers.take(usize::MAX).await;
        let mut pending = Pending::default();
        pending.push(sleep(first));
        let turn = pending.next_turn();
        let began = Instant::now();
        let session = async {
            pending.next().await;
            pending.next().await;
            std::future::pending::<()>().await;
        };
        let refusal = tokio::select! {
            outcome = whole(&shared, Bytes::new(), turn) => outcome.err().unwrap(),
            () = session => unreachable!(),
        };
        (began.elapsed().as_secs(), refusal.reason)
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_behind_a_large_answer_waits_for_it_no_longer_than_history_timeout() {
        // From the question on, whose turn has come; and from its turn on, which came while it was asked, and later.
        for first in [0, 10, 25] {
            let limit = first + 30;
            assert_eq!(refused(Duration::from_secs(first)).await, (limit, "history_timeout"));
        }
    }
}
