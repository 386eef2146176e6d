//! `Subscribe` with `since`: first what the store has, then what happens, without a gap and without a double.
//!
//! The tail is opened first; history is read once the writers have stored everything up to the tail's position, so that between the
//! two nothing is missing. What was stored while history was being read is in both: those chunks are known by their ids and
//! left out of the tail.
//!
//! The past may be long and its viewer slow: `history_timeout` is for the first of it and for each piece that he waits for, never for
//! the whole.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use reflow_tracing_bus::{AnswerStream, Bus, BusError, Patience, Tail, TailItem};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_protocol::wire::Code;
use tokio::sync::mpsc;

use crate::answer::Refusal;
use crate::ask::{Ask, Dialect};
use crate::capabilities::Shared;
use crate::question::{encode, in_span, late, unanswered};
use crate::shown::Shown;

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
    let ask = Ask::Chunks { since_us };
    // Every answer of the session that stands behind this one waits for it: for the two together no longer than for any question.
    let answer = in_span(ask.kind(), async {
        let opened = async {
            bus.wait_for_history(tail.position, patience).await.map_err(unanswered)?;
            let question = encode(shared, Dialect::V2, None, ask)?;
            history.ask(question, Patience::EachPiece(patience)).await.map_err(unanswered)
        };
        tokio::time::timeout(patience, opened).await.map_err(|_| late(&shared.limits))?
    });
    let answer = answer.await?;

    let shown = Shown::default();
    let past =
        unfold(Past { pieces: read(answer), buffer: BytesMut::new(), shown: shown.clone(), over: false }, Past::next);
    Ok(past.chain(shown.left_out_of(tail.stream)).boxed())
}

/// Reads an answer in a task of its own, a piece ahead. A session that is busy with a slow viewer polls nothing else, and what it leaves
/// unpolled would count against the patience with history. The task ends with the answer, or with who reads it.
fn read(mut answer: AnswerStream) -> mpsc::Receiver<Result<Bytes, BusError>> {
    let (pieces, reader) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                piece = answer.next() => piece,
                () = pieces.closed() => None,
            };
            let Some(piece) = piece else { return };
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    reader
}

/// Chunks being read from history: each after its length (u32, little endian), which is 0 where history could not be read without a gap.
struct Past {
    pieces: mpsc::Receiver<Result<Bytes, BusError>>,
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
            match self.pieces.recv().await {
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

    /// The next item of what has come, if it has come whole.
    fn take(&mut self) -> Option<TailItem> {
        loop {
            let length = u32::from_le_bytes(*self.buffer.first_chunk()?) as usize;
            if self.buffer.len() < 4 + length {
                return None;
            }
            self.buffer.advance(4);
            if length == 0 {
                return Some(TailItem::Missed(None));
            }
            let message = self.buffer.split_to(length).freeze();
            match Chunk::decode(message) {
                // A trace whose start has moved back while history was read comes again.
                Ok(chunk) if !self.shown.insert(chunk.header.chunk_uuid()) => {}
                Ok(chunk) => return Some(TailItem::Chunk(Arc::new(chunk))),
                Err(error) => {
                    tracing::error!(%error, "history sent what is no chunk");
                    return Some(TailItem::Missed(None));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reflow_tracing_bus::{BusErrorKind, HistoryClient, LocalBus, LocalOptions, PullLimits, TailFilter};
    use reflow_tracing_chunk::{HEADER_VERSION, Header};
    use tokio::time::{Instant, sleep};
    use uuid::Uuid;

    use super::*;

    fn chunk(number: u128) -> Chunk {
        let chunk_id = Uuid::from_u128(number).as_bytes().to_vec();
        let trace_id = Uuid::from_u128(7).as_bytes().to_vec();
        let header = Header { version: HEADER_VERSION, chunk_id, trace_id, ..Header::default() };
        Chunk { header, payload: Bytes::new() }
    }

    /// Says nothing for as long as an asker has patience.
    struct Silent;

    #[async_trait::async_trait]
    impl HistoryClient for Silent {
        async fn ask(&self, _: Bytes, patience: Patience) -> Result<AnswerStream, BusError> {
            let (Patience::Whole(time) | Patience::EachPiece(time)) = patience;
            sleep(time).await;
            Err(BusError::new(BusErrorKind::Timeout, "ask", "silent"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_writers_and_a_slow_history_together_take_no_longer_than_one_question() {
        let bus = Arc::new(LocalBus::try_new(LocalOptions::default()).await.unwrap());
        let mut consumer = bus.consumer().await.unwrap();
        let publisher = Arc::clone(&bus);
        let published = tokio::spawn(async move { publisher.publish(chunk(1)).await });
        let minute = Duration::from_secs(60);
        let limits = PullLimits { max_messages: 1, max_bytes: 1, linger: Duration::ZERO, max_wait: minute };
        let deliveries = consumer.pull(&limits).await.unwrap();
        let tail = bus.tail(TailFilter { tenant: "default".into(), flows: None }).await.unwrap();
        let shared = Shared::for_test(Some(Arc::new(Silent)));
        tokio::spawn(async move {
            sleep(Duration::from_secs(20)).await;
            for delivery in deliveries {
                delivery.acker.ack().await.unwrap();
            }
        });
        let began = Instant::now();
        let refusal = join(&shared, &*bus, tail, 0).await.err().unwrap();
        assert_eq!((refusal.reason, began.elapsed().as_secs()), ("history_timeout", 30));
        // It was the writers' turn first, and history's then.
        published.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_history_tells_twice_is_shown_once_and_a_gap_is_told() {
        let encoded = |number| chunk(number).encode();
        let mut told = Vec::new();
        for message in [encoded(1), encoded(2), encoded(1), Bytes::new(), encoded(3)] {
            told.extend((message.len() as u32).to_le_bytes());
            told.extend(message);
        }
        // In pieces that end anywhere.
        let pieces: Vec<_> = told.chunks(7).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect();
        let answer = futures_util::stream::iter(pieces).boxed();
        let past = Past { pieces: read(answer), buffer: BytesMut::new(), shown: Shown::default(), over: false };
        let items = unfold(past, Past::next).map(|item| match item {
            TailItem::Chunk(chunk) => Some(chunk.header.chunk_uuid().as_u128()),
            TailItem::Missed(missed) => missed.map(u128::from),
        });
        assert_eq!(items.collect::<Vec<_>>().await, [Some(1), Some(2), None, Some(3)]);
    }
}
