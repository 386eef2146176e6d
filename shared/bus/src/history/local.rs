//! History in one process: the handler is called directly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::ask::LONGEST_DEADLINE;
use super::wire::MAX_PIECE_BYTES;
use super::{AnswerStream, HistoryClient, HistoryHandler};
use crate::error::{BusError, BusErrorKind};

/// Asks the handler of its own process.
#[derive(Clone)]
pub struct LocalHistory {
    handler: Arc<dyn HistoryHandler>,
}

impl LocalHistory {
    /// History that this handler answers.
    pub fn new(handler: Arc<dyn HistoryHandler>) -> Self {
        Self { handler }
    }
}

#[async_trait]
impl HistoryClient for LocalHistory {
    async fn ask(&self, question: Bytes, deadline: Duration) -> Result<AnswerStream, BusError> {
        let deadline = deadline.min(LONGEST_DEADLINE);
        let until = Instant::now() + deadline;
        let late = move |_| {
            let reason = format!("no answer within {deadline:?}");
            BusError::new(BusErrorKind::Timeout, "ask history", reason)
        };
        let answer = timeout_at(until, self.handler.answer(question)).await.map_err(late)??;
        let pieces = futures_util::stream::unfold(
            (answer, Bytes::new(), false),
            move |(mut answer, mut rest, over)| async move {
                if over {
                    return None;
                }
                while rest.is_empty() {
                    match timeout_at(until, answer.next()).await {
                        Ok(Some(Ok(piece))) => rest = piece,
                        Ok(Some(Err(error))) => return Some((Err(error), (answer, rest, true))),
                        Ok(None) => return None,
                        Err(elapsed) => return Some((Err(late(elapsed)), (answer, rest, true))),
                    }
                }
                let piece = rest.split_to(rest.len().min(MAX_PIECE_BYTES));
                Some((Ok(piece), (answer, rest, false)))
            },
        );
        Ok(pieces.boxed())
    }
}
