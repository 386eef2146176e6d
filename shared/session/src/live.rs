//! A live subscription: chunks from the tail, matched, opened and sent as events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use reflow_tracing_bus::{TailFilter, TailItem};
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
use crate::shown::Shown;
use crate::since;
use crate::status::SeenEnds;
use crate::subscriptions::Opening;

/// One subscription. v1 has at most one, without a name.
pub(crate) struct Subscription {
    pub(crate) view: Arc<View>,
    pub(crate) stream: BoxStream<'static, TailItem>,
    /// What the stream brings from the bus, if it brings nothing else: two of the same can stand for each other.
    pub(crate) live: Option<TailFilter>,
    /// What was shown under its name while it was opened.
    pub(crate) shown: Shown,
}

/// What a subscription makes of chunks.
pub(crate) struct View {
    pub(crate) name: Option<String>,
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

/// What was stored before a tail was opened is in one that is open already within this time, though its messages were still on their way.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

impl Subscription {
    /// Opens the tail. What happens from the answer on is seen, and nothing that one of the same name has shown, unless history is asked for.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        request: SubscribeRequest,
        opening: Opening,
    ) -> Result<Self, Refusal> {
        let Some(bus) = shared.capabilities.tail.clone() else {
            return Err(Refusal::new(Code::Unsupported, "no_tail", "this service shows nothing live"));
        };
        let filter = EventFilter::new(request.filters);
        let on_bus = filter.on_bus(&shared.limits.tenant);
        let tail = bus.tail(on_bus.clone()).await.map_err(Refusal::from)?;
        let (stream, live) = match request.since_us {
            Some(since_us) => (since::join(&shared, &*bus, tail, since_us).await?, None),
            None => (tail.stream, Some(on_bus)),
        };
        let Opening { name, shown, replaces } = opening;
        if replaces && live.is_some() {
            // The last that only the old one brings.
            tokio::time::sleep(ON_ITS_WAY).await;
        }
        Ok(Self { view: Arc::new(View::new(name, filter, shared)), stream, live, shown })
    }

    /// The answer to its request.
    pub(crate) fn answer(&self) -> Answer {
        match &self.view.name {
            Some(id) => text(&Response::Subscribed { subscription_id: id.clone() }),
            None => Answer::Recorded(1),
        }
    }
}

impl View {
    pub(crate) fn new(name: Option<String>, filter: EventFilter, shared: Arc<Shared>) -> Self {
        shared.metrics.viewers.inc();
        Self { name, filter, ends: SeenEnds::default(), shared }
    }

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
        let rewrite = if self.name.is_some() { V1Rewrite::None } else { V1Rewrite::of(header) };
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
        let id = match &self.name {
            Some(id) => format!(",\"subscription_id\":{}", serde_json::to_string(id).ok()?),
            None => String::new(),
        };
        Some(format!("{{\"EventNotification\":{{\"trace_id\":\"{trace_id}\",\"event\":{raw}{id}}}}}").into())
    }

    fn missed(&self, missed: Option<u64>) -> Utf8Bytes {
        self.shared.metrics.live_missed.inc_by(missed.unwrap_or(1));
        let answer = match &self.name {
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
