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
use crate::budget::Taken;
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

/// What is on its way to the subscriber.
pub(crate) enum Passing {
    /// With the trace's status as it passed, where that was seen.
    Chunk(Arc<Chunk>, Option<ExecutionStatus>),
    Missed(Option<u64>),
}

/// Some of a chunk's events, as frames.
#[derive(Default)]
pub(crate) struct Slice {
    pub(crate) frames: Vec<Utf8Bytes>,
    /// What large ones hold of the room for large answers, until they are sent.
    pub(crate) room: Vec<Taken>,
    /// The event at which to go on.
    pub(crate) next: Option<usize>,
}

/// Frames of a chunk's events that are made in one go: what a viewer who does not read holds of it. The chunk is opened anew for the next.
const SLICE_BYTES: usize = 4 << 20;
/// Frames above this take room that all sessions share.
const LARGE_BYTES: usize = 1 << 20;

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

    /// One who wants everything.
    #[cfg(test)]
    pub(crate) fn for_test(name: Option<String>) -> Self {
        use reflow_tracing_protocol::SubscriptionFilters;
        let filters = SubscriptionFilters { flow_ids: None, actor_ids: None, event_types: None, status_filter: None };
        Self::new(name, EventFilter::new(filters), Arc::new(Shared::for_test(None)))
    }

    /// What of the items the subscriber is to see.
    pub(crate) async fn pass(&self, items: Vec<TailItem>) -> Vec<Passing> {
        if self.filter.by_flow() {
            let headers = items.iter().filter_map(|item| match item {
                TailItem::Chunk(chunk) => Some(&chunk.header),
                TailItem::Missed(_) => None,
            });
            self.shared.seen_flows.learn(&self.shared, headers).await;
        }
        let passing = items.into_iter().filter_map(|item| match item {
            TailItem::Chunk(chunk) => {
                let status = self.status(&chunk.header);
                let flow = self.filter.by_flow().then(|| self.shared.seen_flows.of(&chunk.header)).flatten();
                self.filter.header(&chunk.header, flow.as_ref()).then_some(Passing::Chunk(chunk, status))
            }
            TailItem::Missed(missed) => Some(Passing::Missed(missed)),
        });
        let mut passing = passing.collect();
        if self.filter.by_status() {
            self.judge(&mut passing).await;
        }
        passing
    }

    /// Notes the chunk's marks; the status of its trace as far as this subscription has seen it end.
    fn status(&self, header: &Header) -> Option<ExecutionStatus> {
        if !self.filter.by_status() {
            return None;
        }
        self.shared.statuses.note(header);
        self.ends.pass(header)
    }

    /// Leaves the chunks whose trace had a wanted status as they passed.
    async fn judge(&self, passing: &mut Vec<Passing>) {
        let mut unseen = Vec::new();
        for passing in &mut *passing {
            let Passing::Chunk(chunk, status @ None) = passing else { continue };
            let trace_id = chunk.header.trace_uuid();
            if self.ends.contains(trace_id) {
                // Its end came behind it, in the same go.
                *status = Some(ExecutionStatus::Running);
            } else {
                unseen.push(trace_id);
            }
        }
        self.shared.statuses.learn(&self.shared, unseen).await;
        passing.retain(|passing| {
            let Passing::Chunk(chunk, status) = passing else { return true };
            let asked = || self.shared.statuses.get(chunk.header.trace_uuid());
            self.filter.status(&status.clone().or_else(asked).unwrap_or(ExecutionStatus::Running))
        });
    }

    /// The wanted events of a chunk from one on, as many as are made in one go. It is opened in room that is given back before anything is sent:
    /// none waits for a viewer.
    pub(crate) async fn events(&self, chunk: &Chunk, from: usize) -> Slice {
        let header = &chunk.header;
        let trace_id = header.trace_uuid();
        let mut slice = Slice::default();
        let _opened = self.shared.opened.take(header.raw_size as usize).await;
        let events = match decode_events(header, &chunk.payload) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(%error, chunk_id = %header.chunk_uuid(), "live chunk cannot be read");
                slice.frames.push(self.missed(Some(u64::from(header.event_count))));
                return slice;
            }
        };
        let rewrite = if self.name.is_some() { V1Rewrite::None } else { V1Rewrite::of(header) };
        let wanted = |raw: &str| {
            !self.filter.by_event()
                || serde_json::from_str::<Event<'_>>(raw).is_ok_and(|event| self.filter.event(&event))
        };
        let mut bytes = 0;
        for (index, (_, raw)) in events.iter().enumerate().skip(from) {
            if bytes >= SLICE_BYTES {
                slice.next = Some(index);
                break;
            }
            let frame = || self.notification(trace_id, &rewrite.apply(raw).ok()?);
            let Some(frame) = wanted(raw).then(frame).flatten() else { continue };
            bytes += frame.len();
            if frame.len() <= LARGE_BYTES {
                slice.frames.push(frame);
            } else if let Some(taken) = self.shared.answers.try_take(frame.len()) {
                slice.frames.push(frame);
                slice.room.push(taken);
            } else {
                slice.frames.push(self.missed(Some(1)));
                continue;
            }
            self.shared.metrics.live_events.inc();
        }
        slice
    }

    fn notification(&self, trace_id: Uuid, raw: &str) -> Option<Utf8Bytes> {
        let id = match &self.name {
            Some(id) => format!(",\"subscription_id\":{}", serde_json::to_string(id).ok()?),
            None => String::new(),
        };
        Some(format!("{{\"EventNotification\":{{\"trace_id\":\"{trace_id}\",\"event\":{raw}{id}}}}}").into())
    }

    pub(crate) fn missed(&self, missed: Option<u64>) -> Utf8Bytes {
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

#[cfg(test)]
mod tests {
    use reflow_tracing_chunk::{ChunkBuilder, Origin};
    use reflow_tracing_protocol::TraceEvent;
    use reflow_tracing_protocol::codec::Codec;

    use super::*;

    /// Of so many events, each of about so many bytes, told apart by the actor's name.
    fn chunk(events: usize, bytes: usize) -> Chunk {
        let event = |number| {
            let mut event = TraceEvent::actor_created(format!("<{number}>"));
            event.data.custom_attributes.insert("x".into(), "n".repeat(bytes).into());
            event
        };
        let all: Vec<TraceEvent> = (0..events).map(event).collect();
        let mut builder = ChunkBuilder::new(Uuid::now_v7(), Uuid::now_v7(), "default", 0, Origin::V2Batch);
        let text = serde_json::to_string(&all).unwrap();
        assert!(builder.push_array(&text, events).unwrap().is_empty());
        let payload = Codec::Zstd.compress(text.as_bytes(), 1).unwrap();
        builder.build_around(payload.into(), Codec::Zstd, text.len())
    }

    #[tokio::test]
    async fn a_large_chunk_is_shown_in_slices_and_holds_no_room_between_them() {
        let (view, chunk) = (View::for_test(None), chunk(200, 60_000));
        let (mut next, mut shown, mut slices) = (Some(0), 0, 0);
        while let Some(from) = next {
            let slice = view.events(&chunk, from).await;
            assert_eq!(view.shared.opened.in_use(), 0);
            let bytes: usize = slice.frames.iter().map(|frame| frame.len()).sum();
            assert!(bytes < SLICE_BYTES + 61_000, "{bytes} bytes in one go");
            for frame in slice.frames {
                assert!(frame.contains(&format!("<{shown}>")), "not event {shown}: {:.200}", frame.as_str());
                shown += 1;
            }
            (next, slices) = (slice.next, slices + 1);
        }
        assert_eq!((shown, slices), (200, 3));
    }

    #[tokio::test]
    async fn large_events_take_room_or_are_missed() {
        let (view, chunk) = (View::for_test(None), chunk(1, 2 * LARGE_BYTES));
        let slice = view.events(&chunk, 0).await;
        let bytes = slice.frames[0].len();
        assert!(bytes > 2 * LARGE_BYTES);
        assert_eq!(view.shared.answers.in_use(), bytes);
        drop(slice);
        let _others = view.shared.answers.take(usize::MAX).await;
        let slice = view.events(&chunk, 0).await;
        assert_eq!(slice.frames, [view.missed(Some(1))]);
    }
}
