//! History in one process: the handler is called directly.
//!
//! Guarantee: the same pieces, patience and errors as over NATS, so that a session cannot tell the difference.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::wire::MAX_PIECE_BYTES;
use super::{AnswerStream, HistoryClient, HistoryHandler, Patience};
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
    async fn ask(&self, question: Bytes, patience: Patience) -> Result<AnswerStream, BusError> {
        let until = patience.until();
        let pieces = timeout_at(until, self.handler.answer(question)).await.map_err(|_| late(patience))??;
        let answer = Answer { pieces, rest: Bytes::new(), until, patience, over: false };
        let pieces = stream::unfold(answer, |mut answer| async move {
            let piece = answer.next_piece().await?;
            answer.over = piece.is_err();
            Some((piece, answer))
        });
        Ok(pieces.boxed())
    }
}

/// An answer that is being read.
struct Answer {
    pieces: AnswerStream,
    /// What the handler gave and the reader has not got.
    rest: Bytes,
    until: Instant,
    patience: Patience,
    over: bool,
}

impl Answer {
    async fn next_piece(&mut self) -> Option<Result<Bytes, BusError>> {
        if self.over {
            return None;
        }
        self.patience.renew(&mut self.until);
        // A handler that always has a piece ready never makes the timer look.
        if Instant::now() >= self.until {
            return Some(Err(late(self.patience)));
        }
        while self.rest.is_empty() {
            match timeout_at(self.until, self.pieces.next()).await {
                Ok(Some(Ok(piece))) => self.rest = piece,
                Ok(Some(Err(error))) => return Some(Err(error)),
                Ok(None) => return None,
                Err(_) => return Some(Err(late(self.patience))),
            }
        }
        Some(Ok(self.rest.split_to(self.rest.len().min(MAX_PIECE_BYTES))))
    }
}

fn late(patience: Patience) -> BusError {
    BusError::new(BusErrorKind::Timeout, "ask history", format!("no answer within {:?}", patience.time()))
}
