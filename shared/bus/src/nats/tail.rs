//! The tail: what the stream republishes, as it is stored.
//!
//! Guarantee: every chunk that the server stored behind [`Tail::position`] is shown once, or the viewer is told that something is
//! missing: by exact count when the viewer is slow, without a count when the connection was away or the server's sequences
//! show a gap. After a reconnect nothing is said if the sequences prove that nothing was stored meanwhile.
//!
//! A task of its own takes messages off the subscription as they come, so that only the bounded queue behind it, which counts,
//! can overflow. Chunks are decoded by the reader: what is dropped costs nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber, header};
use bytes::Bytes;
use futures_util::stream::{SelectAll, select_all};
use futures_util::{FutureExt, StreamExt, future};
use reflow_tracing_chunk::Chunk;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Inner, StreamState, closed};
use super::gaps::{Gaps, Sequences, Verdict};
use super::link::Link;
use super::subjects::{CHUNKS, live_subjects};
use crate::error::{BusError, BusErrorKind};
use crate::tail_queue::{TailWriter, Taken, tail_queue};
use crate::{Tail, TailFilter, TailItem};

/// What was stored before the tail began has arrived after so long.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// How often the connection is looked at when it says nothing.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// After a reconnect the stream may take this long to answer.
const GAP_CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// What was stored since may take so much longer than the stream's own word.
const CHECK_GRACE: Duration = Duration::from_millis(300);

/// Opens a tail. The server has to be reachable, for the position is its word.
pub(crate) async fn open(inner: Arc<Inner>, link: Link, filter: TailFilter) -> Result<Tail, BusError> {
    if inner.closed.is_cancelled() {
        return Err(closed("tail"));
    }
    let (messages, position, generation) = subscribe(&inner, &link, &filter).await?;
    let (writer, reader) = tail_queue(inner.options.tail, &inner.stats);
    let reader_left = CancellationToken::new();
    let wanted = filter.clone();
    let guard = reader_left.clone().drop_guard();
    let dropped = link.dropped();
    let pump = Pump {
        inner,
        link,
        filter,
        writer,
        gaps: Gaps::new(position),
        generation,
        dropped,
        check: None,
        first_after: None,
        gap_in_check: false,
    };
    tokio::spawn(pump.run(messages, reader_left));
    let stream = reader.filter_map(move |taken| {
        let _held_while_read = &guard;
        future::ready(shown(taken, &wanted))
    });
    Ok(Tail { position, stream: stream.boxed() })
}

/// Subscribes, then asks for the position on the same connection: the server has the subscriptions when it answers, so nothing
/// is stored between the position and the first message.
async fn subscribe(
    inner: &Inner,
    link: &Link,
    filter: &TailFilter,
) -> Result<(SelectAll<Subscriber>, u64, u64), BusError> {
    let unavailable = |reason: String| BusError::new(BusErrorKind::Unavailable, "tail", reason);
    let up = timeout(inner.options.request_timeout, link.until_up()).await;
    up.map_err(|_| unavailable("not connected to nats".to_owned()))?;
    let generation = link.generation();
    let subjects = live_subjects(filter).into_iter().map(|subject| link.client.subscribe(subject));
    let subscribers = future::try_join_all(subjects).await.map_err(|error| unavailable(error.to_string()))?;
    let state = inner.stream_state(CHUNKS, link).await?;
    if link.generation() != generation {
        return Err(unavailable("the connection was lost while subscribing".to_owned()));
    }
    Ok((select_all(subscribers), state.last_sequence, generation))
}

/// What a viewer sees of an item of the queue.
fn shown(taken: Taken<Bytes>, filter: &TailFilter) -> Option<TailItem> {
    match taken {
        Taken::Missed(missed) => Some(TailItem::Missed(missed)),
        Taken::Item(message) => match Chunk::decode(message) {
            Ok(chunk) => filter.passes(&chunk.header).then(|| TailItem::Chunk(Arc::new(chunk))),
            Err(error) => {
                // A newer collector's, for one: the writer says what is wrong with it, the viewer misses it.
                tracing::debug!(%error, "live chunk cannot be read");
                Some(TailItem::Missed(None))
            }
        },
    }
}

/// Events that the viewer misses of an encoded chunk that is not kept: subjects bring more than the filter asks for. One that cannot be read
/// counts one.
fn events_of(message: &Bytes, filter: &TailFilter) -> u64 {
    Chunk::decode(message.clone())
        .map_or(1, |chunk| if filter.passes(&chunk.header) { u64::from(chunk.header.event_count) } else { 0 })
}

type Check = Pin<Box<dyn Future<Output = Option<StreamState>> + Send>>;

/// Takes messages off the subscription and looks after gaps.
struct Pump {
    inner: Arc<Inner>,
    link: Link,
    filter: TailFilter,
    writer: TailWriter<Bytes>,
    gaps: Gaps,
    generation: u64,
    dropped: u64,
    /// A look at the stream after a reconnect, with the greatest sequence seen before it.
    check: Option<(u64, Check)>,
    /// The first sequence seen since the reconnect.
    first_after: Option<u64>,
    /// Sequences showed a gap while the check was under way.
    gap_in_check: bool,
}

impl Pump {
    async fn run(mut self, mut messages: SelectAll<Subscriber>, reader_left: CancellationToken) {
        let settled = sleep(SETTLED_AFTER).fuse();
        tokio::pin!(settled);
        let mut check_at = Instant::now() + CHECK_EVERY;
        loop {
            let generation = self.generation;
            let checking = async {
                match &mut self.check {
                    Some((seen, check)) => (*seen, check.await),
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = reader_left.cancelled() => break,
                () = self.inner.closed.cancelled() => break,
                (seen, state) = checking => self.checked(seen, state),
                () = self.link.reconnected_since(generation) => {}
                message = messages.next() => match message {
                    Some(message) => self.show(message),
                    None => break,
                },
                () = &mut settled => self.gaps.settle(),
                () = tokio::time::sleep_until(check_at) => check_at = Instant::now() + CHECK_EVERY,
            }
            self.look_at_connection();
        }
    }

    fn show(&mut self, message: Message) {
        // Only what the stream republished counts.
        let Some(sequences) = sequences(&message) else { return };
        match self.gaps.judge(&message.subject, sequences) {
            Verdict::Old => return,
            // Told once, by the check.
            Verdict::Gap if self.check.is_some() => self.gap_in_check = true,
            Verdict::Gap => self.writer.gap(),
            Verdict::Next => {}
        }
        self.first_after.get_or_insert(sequences.own);
        let size = message.payload.len();
        self.writer.push(message.payload, size, |message| events_of(message, &self.filter));
    }

    fn look_at_connection(&mut self) {
        let dropped = self.link.dropped();
        if dropped != self.dropped {
            // Some subscription of this connection overflowed; the client does not say whose.
            self.dropped = dropped;
            self.gaps.forget();
            self.writer.gap();
        }
        let generation = self.link.generation();
        if generation != self.generation {
            self.generation = generation;
            self.first_after = None;
            // A second reconnect during a check: what was seen before the first still counts.
            let seen = self.check.take().map_or(self.gaps.greatest(), |(seen, _)| seen);
            let (inner, link) = (Arc::clone(&self.inner), self.link.clone());
            let check = async move {
                let state = stream_state(&inner, &link).await;
                if state.is_some_and(|state| state.last_sequence > seen) {
                    // The first of it can prove that nothing is missing.
                    sleep(CHECK_GRACE).await;
                }
                state
            };
            self.check = Some((seen, Box::pin(check)));
        }
    }

    fn checked(&mut self, seen: u64, state: Option<StreamState>) {
        self.check = None;
        let last = state.map(|state| state.last_sequence);
        let nothing_between = last == Some(seen) || self.first_after == Some(seen + 1);
        if nothing_between && !std::mem::take(&mut self.gap_in_check) {
            return;
        }
        self.writer.gap();
        if last.is_some_and(|last| last < seen) {
            // A new stream.
            self.gaps.restart();
        } else {
            self.gaps.forget();
        }
    }
}

/// The stream's state after a reconnect, as soon as it answers. While it does not answer, nothing is stored either.
async fn stream_state(inner: &Inner, link: &Link) -> Option<StreamState> {
    let asking = async {
        loop {
            match inner.stream_state(CHUNKS, link).await {
                Ok(state) => return Some(state),
                Err(error) if error.is_retryable() => sleep(Duration::from_millis(100)).await,
                Err(_) => return None,
            }
        }
    };
    timeout(GAP_CHECK_TIMEOUT, asking).await.ok().flatten()
}

fn sequences(message: &Message) -> Option<Sequences> {
    let headers = message.headers.as_ref()?;
    if headers.get(header::NATS_STREAM)?.as_str() != CHUNKS {
        return None;
    }
    let own = headers.get_last(header::NATS_SEQUENCE)?.as_str().parse().ok()?;
    let before =
        headers.get_last(header::NATS_LAST_SEQUENCE).and_then(|value| value.as_str().parse().ok()).unwrap_or(0);
    Some(Sequences { own, before })
}
