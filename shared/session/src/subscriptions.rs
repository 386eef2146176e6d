//! The live subscriptions of one session.
//!
//! Guarantee: a subscription that takes the place of another of its name loses nothing and shows nothing twice. Tails begin when they are opened, and the
//! session learns only later that one is open. So what the old one shows meanwhile is noted and left out of the new one, and what the
//! old one has ready when it gives way is shown first. Where both bring the same from the bus, the old tail simply goes on.
//!
//! Left out on purpose: a subscription with `since`. Whoever asks for the past gets it, again if need be.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use reflow_tracing_bus::TailItem;

use crate::live::{Subscription, View};
use crate::shown::Shown;

/// Chunks looked at in one go: their traces' statuses are asked for together.
const AT_ONCE: usize = 64;
/// Bytes of events after which no more chunks are taken into it: the others stay in the tail, where they are counted.
const AT_ONCE_BYTES: usize = 4 << 20;
/// What a subscription that gives way may have ready, in bytes as on the bus: more than a live tail holds ([`reflow_tracing_bus::TailLimits`]), so that
/// only a past that is being read is cut.
const LAST_BYTES: usize = 16 << 20;

/// The subscriptions of a session.
#[derive(Default)]
pub(crate) struct Subscriptions {
    list: Vec<Subscription>,
    /// Names under which others are being opened, and what has been shown under them since.
    opening: Vec<(Option<String>, Shown)>,
    /// Whose turn it is, so that a busy one does not starve the others.
    turn: usize,
}

/// A subscription that is being opened.
pub(crate) struct Opening {
    pub(crate) name: Option<String>,
    /// What is shown under its name from now on.
    pub(crate) shown: Shown,
    /// There is one of that name, or there may be by then.
    pub(crate) replaces: bool,
}

impl Subscriptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// To be called before its tail is opened.
    pub(crate) fn opening(&mut self, name: Option<String>) -> Opening {
        // Those that could not be opened.
        self.opening.retain(|(_, shown)| shown.is_shared());
        let mut names = self.list.iter().map(|other| &other.view.name).chain(self.opening.iter().map(|(name, _)| name));
        let replaces = names.any(|other| *other == name);
        let shown = Shown::default();
        self.opening.push((name.clone(), shown.clone()));
        Opening { name, shown, replaces }
    }

    /// What one that is going to give way to `subscription` has ready.
    pub(crate) fn last_of(&mut self, subscription: &Subscription) -> Option<(Arc<View>, Vec<TailItem>)> {
        let index = self.list.iter().position(|old| old.view.name == subscription.view.name)?;
        let mut context = Context::from_waker(Waker::noop());
        let on_bus = |item: &TailItem| match item {
            TailItem::Chunk(chunk) => chunk.payload.len(),
            TailItem::Missed(_) => 0,
        };
        let (items, _) = self.ready(index, &mut context, usize::MAX, LAST_BYTES, on_bus);
        Some((Arc::clone(&self.list[index].view), items))
    }

    /// Adds one; one of the same name (in v1: the only one) gives way. False, and nothing is added, when there are `max` others.
    pub(crate) fn add(&mut self, mut subscription: Subscription, max: usize) -> bool {
        self.opening.retain(|(_, shown)| !shown.is(&subscription.shown));
        let old = self.list.iter().position(|old| old.view.name == subscription.view.name);
        match old.map(|index| self.list.remove(index)) {
            Some(old) if old.live.is_some() && old.live == subscription.live => subscription.stream = old.stream,
            None if self.list.len() >= max => return false,
            // Also where the old one has been ended meanwhile: what it showed since the new tail was opened is in both.
            _ if subscription.live.is_some() => {
                let shown = std::mem::take(&mut subscription.shown);
                subscription.stream = shown.left_out_of(subscription.stream);
            }
            _ => {}
        }
        self.list.push(subscription);
        true
    }

    /// Ends one, or all.
    pub(crate) fn remove(&mut self, name: Option<&str>) {
        self.list.retain(|subscription| name.is_some() && subscription.view.name.as_deref() != name);
    }

    /// The next items of some subscription. Waits for ever when there is none. Cancelling it before it is done with its waiting loses
    /// nothing; whoever gets the items must see them through.
    pub(crate) async fn next(&mut self) -> (Arc<View>, Vec<TailItem>) {
        let opened = |item: &TailItem| match item {
            TailItem::Chunk(chunk) => chunk.header.raw_size as usize,
            TailItem::Missed(_) => 0,
        };
        poll_fn(|context| {
            let mut step = 0;
            while step < self.list.len() {
                let index = (self.turn + step) % self.list.len();
                let view = Arc::clone(&self.list[index].view);
                let (items, ended) = self.ready(index, context, AT_ONCE, AT_ONCE_BYTES, opened);
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

    /// What a subscription has ready, up to a number of items and to bytes, by some measure; and whether its stream has ended.
    fn ready(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
        max_items: usize,
        max_bytes: usize,
        bytes_of: impl Fn(&TailItem) -> usize,
    ) -> (Vec<TailItem>, bool) {
        let Subscription { stream, view, .. } = &mut self.list[index];
        let (mut items, mut bytes) = (Vec::new(), 0);
        let mut ended = false;
        while items.len() < max_items
            && bytes < max_bytes
            && !ended
            && let Poll::Ready(item) = stream.poll_next_unpin(context)
        {
            ended = item.is_none();
            if let Some(TailItem::Chunk(chunk)) = &item {
                let openings = self.opening.iter().filter(|(name, _)| *name == view.name);
                for (_, shown) in openings {
                    shown.insert(chunk.header.chunk_uuid());
                }
            }
            bytes += item.as_ref().map_or(0, &bytes_of);
            items.extend(item);
        }
        (items, ended)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::stream::unfold;
    use reflow_tracing_bus::TailFilter;
    use reflow_tracing_chunk::{Chunk, HEADER_VERSION, Header};
    use tokio::sync::mpsc::{Sender, channel};
    use uuid::Uuid;

    use super::*;

    /// One of a flow, as the session gets it when it is open; and its tail.
    fn opened(flow: &str, opening: Opening) -> (Subscription, Sender<TailItem>) {
        let (tail, stream) = channel(16);
        let stream = unfold(stream, async |mut stream| stream.recv().await.map(|item| (item, stream)));
        let view = Arc::new(View::for_test(opening.name));
        let live = Some(TailFilter { tenant: "default".into(), flows: Some(vec![flow.into()]) });
        (Subscription { view, stream: stream.boxed(), live, shown: opening.shown }, tail)
    }

    fn push(tail: &Sender<TailItem>, numbers: impl IntoIterator<Item = u128>) {
        for number in numbers {
            let chunk_id = Uuid::from_u128(number).as_bytes().to_vec();
            let header = Header { version: HEADER_VERSION, chunk_id, ..Header::default() };
            let chunk = Arc::new(Chunk { header, payload: Bytes::new() });
            // Where it is gone, nobody looks.
            let _ = tail.try_send(TailItem::Chunk(chunk));
        }
    }

    fn numbers(items: Vec<TailItem>) -> Vec<u128> {
        let number = |item| match item {
            TailItem::Chunk(chunk) => chunk.header.chunk_uuid().as_u128(),
            TailItem::Missed(missed) => panic!("{missed:?} missed"),
        };
        items.into_iter().map(number).collect()
    }

    /// What is there to be shown now.
    fn shown(subscriptions: &mut Subscriptions) -> Vec<u128> {
        let mut all = Vec::new();
        while let Some((_, items)) = subscriptions.next().now_or_never() {
            all.extend(numbers(items));
        }
        all
    }

    /// Subscribes to a flow, and under the same name to another or the same: what is shown before the second is open, at the change, and from then on.
    fn resubscribed(flows: [&str; 2]) -> [Vec<u128>; 3] {
        let mut subscriptions = Subscriptions::default();
        let opening = subscriptions.opening(Some("a".into()));
        assert!(!opening.replaces);
        let (first, old) = opened(flows[0], opening);
        assert!(subscriptions.add(first, 1));
        let opening = subscriptions.opening(Some("a".into()));
        assert!(opening.replaces);
        push(&old, 0..4);
        // The tail is open from 2 on.
        let (second, new) = opened(flows[1], opening);
        push(&new, 2..4);
        let before = shown(&mut subscriptions);
        push(&old, 4..6);
        push(&new, 4..6);
        let change = numbers(subscriptions.last_of(&second).unwrap().1);
        assert!(subscriptions.add(second, 1), "the old one gives its place");
        push(&old, 6..8);
        push(&new, 6..8);
        [before, change, shown(&mut subscriptions)]
    }

    #[tokio::test]
    async fn one_that_takes_anothers_place_loses_nothing_and_shows_nothing_twice() {
        let expected = [vec![0, 1, 2, 3], vec![4, 5], vec![6, 7]];
        assert_eq!(resubscribed(["flow", "other"]), expected);
        assert_eq!(resubscribed(["flow", "flow"]), expected);
    }

    #[tokio::test]
    async fn what_one_showed_that_was_ended_meanwhile_is_not_shown_again() {
        let mut subscriptions = Subscriptions::default();
        let opening = subscriptions.opening(Some("a".into()));
        let (first, old) = opened("flow", opening);
        assert!(subscriptions.add(first, 1));
        let opening = subscriptions.opening(Some("a".into()));
        let (second, new) = opened("flow", opening);
        push(&old, 0..2);
        push(&new, 0..2);
        assert_eq!(shown(&mut subscriptions), [0, 1]);
        subscriptions.remove(Some("a"));
        assert!(subscriptions.add(second, 1));
        push(&new, 2..4);
        assert_eq!(shown(&mut subscriptions), [2, 3]);
    }

    #[tokio::test]
    async fn one_that_was_not_opened_leaves_nothing() {
        let mut subscriptions = Subscriptions::default();
        for _ in 0..3 {
            drop(subscriptions.opening(None));
        }
        let kept = subscriptions.opening(None);
        assert!(!kept.replaces);
        assert_eq!(subscriptions.opening.len(), 1);
    }
}
