//! Live subscriptions of one session: chunks from the tail, matched, opened and sent as events.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reflow_tracing_bus::TailItem;
use reflow_tracing_chunk::{Chunk, Header, V1Rewrite, decode_events};
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_protocol::wire::{Code, Event, Response, SubscribeRequest};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::answer::{Answer, Refusal, text};
use crate::ask::Dialect;
use crate::capabilities::Shared;
use crate::filter::EventFilter;
use crate::since;
use crate::status::SeenEnds;

/// One subscription. v1 has at most one, without a name.
pub(crate) struct Subscription {
    view: Arc<View>,
    stream: BoxStream<'static, TailItem>,
}

/// What a subscription makes of chunks.
pub(crate) struct View {
    id: Option<String>,
    filter: EventFilter,
    ends: SeenEnds,
    shared: Arc<Shared>,
}

/// A chunk on its way to the subscriber.
struct Passing {
    /// Among the frames.
    place: usize,
    chunk: Arc<Chunk>,
    /// The trace's status as the chunk passed, where that was seen.
    status: Option<ExecutionStatus>,
}

/// Chunks looked at in one go: their traces' statuses are asked for together.
const AT_ONCE: usize = 64;
/// Bytes of events after which no more chunks are taken into it: what is opened and not yet sent is no more than that and one chunk.
const AT_ONCE_BYTES: usize = 4 << 20;

impl Subscription {
    /// Opens the tail. What happens from the answer on is seen.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        request: SubscribeRequest,
        dialect: Dialect,
    ) -> Result<Self, Refusal> {
        let Some(bus) = shared.capabilities.tail.clone() else {
            return Err(Refusal::new(Code::Unsupported, "no_tail", "this service shows nothing live"));
        };
        let filter = EventFilter::new(request.filters);
        let on_bus = filter.on_bus(&shared.limits.tenant);
        let tail = bus.tail(on_bus).await.map_err(Refusal::from)?;
        let stream = match request.since_us {
            Some(since_us) => since::join(&shared, &*bus, tail, since_us).await?,
            None => tail.stream,
        };
        shared.metrics.viewers.inc();
        let id =
            (dialect == Dialect::V2).then(|| request.subscription_id.unwrap_or_else(|| Uuid::now_v7().to_string()));
        let view = View { id, filter, ends: SeenEnds::default(), shared };
        Ok(Self { view: Arc::new(view), stream })
    }

    /// The answer to its request.
    pub(crate) fn answer(&self) -> Answer {
        match &self.view.id {
            Some(id) => text(&Response::Subscribed { subscription_id: id.clone() }),
            None => Answer::Recorded(1),
        }
    }
}

impl View {
    /// What the items mean to the subscriber.
    pub(crate) async fn frames(&self, items: Vec<TailItem>) -> Vec<Utf8Bytes> {
        let mut chunks = Vec::new();
        let mut frames = Vec::new();
        if self.filter.by_flow() {
            let headers = items.iter().filter_map(|item| match item {
                TailItem::Chunk(chunk) => Some(&chunk.header),
                TailItem::Missed(_) => None,
            });
            self.shared.seen_flows.learn(&self.shared, headers).await;
        }
        for item in items {
            match item {
                TailItem::Chunk(chunk) => {
                    let status = self.pass(&chunk.header);
                    let flow = self.filter.by_flow().then(|| self.shared.seen_flows.of(&chunk.header)).flatten();
                    if self.filter.header(&chunk.header, flow.as_ref()) {
                        chunks.push(Passing { place: frames.len(), chunk, status });
                        frames.push(Vec::new());
                    }
                }
                TailItem::Missed(missed) => frames.push(vec![self.missed(missed)]),
            }
        }
        if self.filter.by_status() {
            self.judge(&mut chunks).await;
        }
        for Passing { place, chunk, .. } in chunks {
            frames[place] = self.events(&chunk);
        }
        frames.into_iter().flatten().collect()
    }

    /// Notes the chunk's marks; the status of its trace as far as this subscription has seen it end.
    fn pass(&self, header: &Header) -> Option<ExecutionStatus> {
        if !self.filter.by_status() {
            return None;
        }
        self.shared.statuses.note(header);
        self.ends.pass(header)
    }

    /// Leaves the chunks whose trace had a wanted status as they passed.
    async fn judge(&self, chunks: &mut Vec<Passing>) {
        for passing in chunks.iter_mut().filter(|passing| passing.status.is_none()) {
            // Its end came behind it, in the same go.
            if self.ends.contains(passing.chunk.header.trace_uuid()) {
                passing.status = Some(ExecutionStatus::Running);
            }
        }
        let unseen = chunks.iter().filter(|passing| passing.status.is_none());
        let traces = unseen.map(|passing| passing.chunk.header.trace_uuid()).collect();
        self.shared.statuses.learn(&self.shared, traces).await;
        chunks.retain(|Passing { chunk, status, .. }| {
            let asked = || self.shared.statuses.get(chunk.header.trace_uuid());
            self.filter.status(&status.clone().or_else(asked).unwrap_or(ExecutionStatus::Running))
        });
    }

    fn events(&self, chunk: &Chunk) -> Vec<Utf8Bytes> {
        let header = &chunk.header;
        let trace_id = header.trace_uuid();
        let events = match decode_events(header, &chunk.payload) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(%error, chunk_id = %header.chunk_uuid(), "live chunk cannot be read");
                return vec![self.missed(Some(u64::from(header.event_count)))];
            }
        };
        let rewrite = if self.id.is_some() { V1Rewrite::None } else { V1Rewrite::of(header) };
        let wanted = |raw: &str| {
            !self.filter.by_event()
                || serde_json::from_str::<Event<'_>>(raw).is_ok_and(|event| self.filter.event(&event))
        };
        let frames: Vec<Utf8Bytes> = events
            .iter()
            .filter(|(_, raw)| wanted(raw))
            .filter_map(|(_, raw)| self.notification(trace_id, &rewrite.apply(raw).ok()?))
            .collect();
        self.shared.metrics.live_events.inc_by(frames.len() as u64);
        frames
    }

    fn notification(&self, trace_id: Uuid, raw: &str) -> Option<Utf8Bytes> {
        let id = match &self.id {
            Some(id) => format!(",\"subscription_id\":{}", serde_json::to_string(id).ok()?),
            None => String::new(),
        };
        Some(format!("{{\"EventNotification\":{{\"trace_id\":\"{trace_id}\",\"event\":{raw}{id}}}}}").into())
    }

    fn missed(&self, missed: Option<u64>) -> Utf8Bytes {
        self.shared.metrics.live_missed.inc_by(missed.unwrap_or(1));
        let answer = match &self.id {
            Some(id) => text(&Response::Lagged { subscription_id: id.clone(), missed }),
            None => {
                let count = missed.map_or_else(|| "an unknown number of".to_owned(), |missed| missed.to_string());
                Refusal::new(Code::InternalError, "lagged", format!("missed {count} events")).answer(
                    Dialect::V1,
                    None,
                    None::<Box<RawValue>>,
                )
            }
        };
        match answer {
            Answer::Text(frame) => frame,
            _ => Utf8Bytes::from_static(""),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.metrics.viewers.dec();
    }
}

/// The subscriptions of a session.
#[derive(Default)]
pub(crate) struct Subscriptions {
    list: Vec<Subscription>,
    /// Whose turn it is, so that a busy one does not starve the others.
    turn: usize,
}

impl Subscriptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds one; one of the same name (in v1: the only one) gives way. False, and nothing is added, when there are `max` others.
    pub(crate) fn add(&mut self, subscription: Subscription, max: usize) -> bool {
        let others = self.list.iter().filter(|other| other.view.id != subscription.view.id).count();
        if others >= max {
            return false;
        }
        self.list.retain(|other| other.view.id != subscription.view.id);
        self.list.push(subscription);
        true
    }

    /// Ends one, or all.
    pub(crate) fn remove(&mut self, id: Option<&str>) {
        self.list.retain(|subscription| id.is_some() && subscription.view.id.as_deref() != id);
    }

    /// The next frames of some subscription. Waits for ever when there is none. Cancelling it before it is done with its waiting loses
    /// nothing; whoever gets the items must see them through.
    pub(crate) async fn next(&mut self) -> (Arc<View>, Vec<TailItem>) {
        poll_fn(|cx| {
            let mut step = 0;
            while step < self.list.len() {
                let index = (self.turn + step) % self.list.len();
                let view = Arc::clone(&self.list[index].view);
                let mut items = Vec::new();
                let mut bytes = 0;
                let mut ended = false;
                while items.len() < AT_ONCE
                    && bytes < AT_ONCE_BYTES
                    && !ended
                    && let Poll::Ready(item) = self.list[index].stream.poll_next_unpin(cx)
                {
                    ended = item.is_none();
                    if let Some(TailItem::Chunk(chunk)) = &item {
                        bytes += chunk.header.raw_size as usize;
                    }
                    items.extend(item);
                }
                if ended {
                    self.list.remove(index);
                }
                if !items.is_empty() {
                    self.turn = index + 1;
                    return Poll::Ready((view, items));
                }
                // After a removal the places have moved: everybody is asked again.
                step = if ended { 0 } else { step + 1 };
            }
            Poll::Pending
        })
        .await
    }
}
