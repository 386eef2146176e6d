//! `Subscribe` with `since`: first what the store has, then what happens, without a gap and without a double.
//!
//! The tail is opened first; history is read once the writers have stored everything up to the tail's position, so that between the
//! two nothing is missing. What was stored while history was being read is in both: those chunks are known by their ids and
//! left out of the tail.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use reflow_tracing_bus::{AnswerStream, Bus, Tail, TailItem};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_protocol::wire::Code;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::ask::{Ask, Dialect};
use crate::capabilities::Shared;
use crate::question::{encode, in_span, unanswered};

/// Ids of the newest chunks of history that are remembered: a chunk that is in both was received just before.
const REMEMBERED: usize = 65_536;

/// History from `since_us` (received time) on, then the tail.
pub(crate) async fn join(
    shared: &Shared,
    bus: &dyn Bus,
    tail: Tail,
    since_us: i64,
) -> Result<BoxStream<'static, TailItem>, Refusal> {
    let Some(history) = &shared.capabilities.history else {
        let message = "Subscribe: `since` needs history, and this service has none";
        return Err(Refusal::new(Code::Unsupported, "no_history", message));
    };
    let patience = shared.limits.history_timeout;
    let unanswered = |error| unanswered(&shared.limits, error);
    bus.wait_for_history(tail.position, patience).await.map_err(unanswered)?;
    let ask = Ask::Chunks { since_us };
    let answer = in_span(ask.kind(), async {
        let question = encode(shared, Dialect::V2, None, ask)?;
        history.ask(question, patience).await.map_err(unanswered)
    });
    let answer = answer.await?;

    let shown = Shown::default();
    let past = unfold(Past { answer, buffer: BytesMut::new(), shown: shown.clone(), over: false }, Past::next);
    let live = tail.stream.filter(move |item| {
        let again = matches!(item, TailItem::Chunk(chunk) if shown.contains(chunk.header.chunk_uuid()));
        std::future::ready(!again)
    });
    Ok(past.chain(live).boxed())
}

/// Chunk ids that history has shown.
#[derive(Clone, Default)]
struct Shown(Arc<std::sync::Mutex<(HashSet<Uuid>, VecDeque<Uuid>)>>);

impl Shown {
    fn insert(&self, id: Uuid) {
        let mut shown = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if shown.0.insert(id) {
            shown.1.push_back(id);
        }
        if shown.1.len() > REMEMBERED
            && let Some(oldest) = shown.1.pop_front()
        {
            shown.0.remove(&oldest);
        }
    }

    fn contains(&self, id: Uuid) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.contains(&id)
    }
}

/// Chunks being read from history: each after its length (u32, little endian).
struct Past {
    answer: AnswerStream,
    buffer: BytesMut,
    shown: Shown,
    over: bool,
}

impl Past {
    async fn next(mut self) -> Option<(TailItem, Self)> {
        while !self.over {
            if let Some(item) = self.take() {
                return Some((item, self));
            }
            match self.answer.next().await {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(error)) => {
                    tracing::warn!(%error, "history for a live subscription broke off");
                    self.over = true;
                    return Some((TailItem::Missed(None), self));
                }
                None => {
                    self.over = true;
                    if !self.buffer.is_empty() {
                        return Some((TailItem::Missed(None), self));
                    }
                }
            }
        }
        None
    }

    fn take(&mut self) -> Option<TailItem> {
        let length = u32::from_le_bytes(*self.buffer.first_chunk()?) as usize;
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.buffer.advance(4);
        let message = self.buffer.split_to(length).freeze();
        match Chunk::decode(message) {
            Ok(chunk) => {
                self.shown.insert(chunk.header.chunk_uuid());
                Some(TailItem::Chunk(Arc::new(chunk)))
            }
            Err(error) => {
                tracing::error!(%error, "history sent what is no chunk");
                Some(TailItem::Missed(None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_ids_are_remembered() {
        let shown = Shown::default();
        let ids: Vec<Uuid> = (0..REMEMBERED as u128 + 10).map(Uuid::from_u128).collect();
        ids.iter().for_each(|id| shown.insert(*id));
        assert!(!shown.contains(ids[0]) && shown.contains(ids[10]));
    }
}
