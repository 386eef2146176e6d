//! What led to an event, where that is known, and nothing where it is not.
//!
//! Two things are known. A `DataFlow` comes from the `MessageSent` just before it on the same edge: `reflow_network` tells both, one
//! right after the other in one task, and [`Edges`] remembers the last `MessageSent` of each out-port by task. Tasks keep a port's
//! connections apart; a memory by port alone would give a message that fans out the wrong parent. A message of another trace, which
//! this task told before, is no cause: each is remembered with its trace. And a caller may open a scope:
//! every event that is recorded in it has the scope's [`Cause`] as its parent. All else is its own root.
//!
//! Bounded: a chain keeps the newest 16 causes, [`Edges`] at most 256 messages, the oldest of a shard making room.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use uuid::Uuid;

use crate::{EventId, TraceEvent, TraceEventType};

/// Causes that a chain keeps, the newest ones.
pub const MAX_CHAIN: usize = 16;

const SHARDS: usize = 16;
const EDGES_A_SHARD: usize = 16;

/// An event as the cause of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    event: EventId,
    root: EventId,
    /// What led to `event`, oldest first.
    chain: Vec<EventId>,
    is_message: bool,
}

impl Cause {
    /// The event as a cause.
    pub fn of(event: &TraceEvent) -> Self {
        Self {
            event: event.event_id.clone(),
            root: event.causality.root_cause_event_id.clone(),
            chain: event.causality.dependency_chain.clone(),
            is_message: event.event_type == TraceEventType::MessageSent,
        }
    }

    /// The id of the event.
    pub fn event_id(&self) -> &EventId {
        &self.event
    }

    /// Makes this the cause of `event`: its parent, its root, and at the end of its chain.
    pub fn lead_to(&self, event: &mut TraceEvent) {
        let causality = &mut event.causality;
        causality.parent_event_id = Some(self.event.clone());
        causality.root_cause_event_id = self.root.clone();
        let older = self.chain.len().saturating_sub(MAX_CHAIN - 1);
        causality.dependency_chain = Vec::with_capacity(self.chain.len() - older + 1);
        causality.dependency_chain.extend_from_slice(&self.chain[older..]);
        causality.dependency_chain.push(self.event.clone());
    }

    /// Runs `work`; what an integration records in it, on this thread, was caused by this.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(Arc::new(self));
        work()
    }

    /// The future with this as the cause of whatever an integration records in it, on whichever thread it is polled. Tasks that
    /// it spawns are not in it.
    pub fn scope<F: Future>(self, future: F) -> CauseScope<F> {
        CauseScope { cause: Arc::new(self), future: Box::pin(future) }
    }
}

/// A future with a cause: see [`Cause::scope`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct CauseScope<F> {
    cause: Arc<Cause>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for CauseScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(Arc::clone(&self.cause));
        self.future.as_mut().poll(context)
    }
}

thread_local! {
    static SCOPE: RefCell<Option<Arc<Cause>>> = const { RefCell::new(None) };
}

/// While it lives its cause is the scope of this thread; then the one before is again, also after a panic.
struct Entered(Option<Arc<Cause>>);

impl Entered {
    fn new(cause: Arc<Cause>) -> Self {
        Self(SCOPE.with_borrow_mut(|scope| scope.replace(cause)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        SCOPE.with_borrow_mut(|scope| *scope = before);
    }
}

/// Puts the event under the cause that the caller has opened, if there is one; says whether that is a `MessageSent`.
pub(crate) fn apply_scope(event: &mut TraceEvent) -> bool {
    SCOPE.with_borrow(|scope| match scope {
        Some(cause) => {
            cause.lead_to(event);
            cause.is_message
        }
        None => false,
    })
}

/// The last `MessageSent` of each out-port, by the task that sent it.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    sent: Vec<Sent>,
    /// Whose place the next one takes when all are taken.
    oldest: usize,
}

#[derive(Debug)]
struct Sent {
    /// Of the task and the port.
    key: u64,
    trace_id: Uuid,
    cause: Cause,
}

impl Edges {
    /// Remembers a `MessageSent`.
    pub(crate) fn sent(&self, trace_id: Uuid, event: &TraceEvent) {
        let Some(port) = &event.data.port else { return };
        let key = self.key(&event.actor_id, port);
        let sent = Sent { key, trace_id, cause: Cause::of(event) };
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if let Some(last) = shard.sent.iter_mut().find(|known| known.key == key) {
            *last = sent;
        } else if shard.sent.len() < EDGES_A_SHARD {
            shard.sent.push(sent);
        } else {
            shard.sent[shard.oldest] = sent;
            shard.oldest = (shard.oldest + 1) % EDGES_A_SHARD;
        }
    }

    /// Makes the `MessageSent` before it the cause of a `DataFlow`. False if none is known of this trace.
    pub(crate) fn flow(&self, trace_id: Uuid, event: &mut TraceEvent) -> bool {
        let Some(port) = &event.data.port else { return false };
        let key = self.key(&event.actor_id, port);
        let shard = self.shard(key);
        let sent = shard.sent.iter().find(|sent| sent.key == key && sent.trace_id == trace_id);
        sent.map(|sent| sent.cause.lead_to(event)).is_some()
    }

    /// 64 bits of a keyed hash stand for task and port: that two of at most 256 have the same will not happen.
    fn key(&self, actor: &str, port: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hash_task(&mut hasher);
        actor.hash(&mut hasher);
        port.hash(&mut hasher);
        hasher.finish()
    }

    fn shard(&self, key: u64) -> std::sync::MutexGuard<'_, Shard> {
        // Nothing in here can be left half done.
        self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task, or the thread where there is none.
fn hash_task(hasher: &mut impl Hasher) {
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(task) = tokio::task::try_id() {
        return task.hash(hasher);
    }
    std::thread::current().id().hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(edges: &Edges, port: &str) -> TraceEvent {
        let event = TraceEvent::message_sent("a".into(), port.into(), "T".into(), 1);
        edges.sent(Uuid::nil(), &event);
        event
    }

    fn flow(edges: &Edges, port: &str) -> TraceEvent {
        let mut event = TraceEvent::data_flow("a".into(), port.into(), "b".into(), "in".into(), "T".into(), 1);
        edges.flow(Uuid::nil(), &mut event);
        event
    }

    fn parent(event: &TraceEvent) -> Option<EventId> {
        event.causality.parent_event_id.clone()
    }

    #[test]
    fn a_flow_comes_from_the_message_just_before_it_on_the_same_edge() {
        let edges = Edges::default();
        sent(&edges, "out");
        let (second, other) = (sent(&edges, "out"), sent(&edges, "other"));
        let flowed = flow(&edges, "out");
        assert_eq!(parent(&flowed), Some(second.event_id.clone()));
        assert_eq!(flowed.causality.root_cause_event_id, second.event_id);
        assert_eq!(flowed.causality.dependency_chain, [second.event_id]);
        assert_eq!(parent(&flow(&edges, "other")), Some(other.event_id));
    }

    #[test]
    fn a_flow_without_a_message_is_its_own_root() {
        let event = flow(&Edges::default(), "out");
        assert_eq!(parent(&event), None);
        assert_eq!(event.causality.root_cause_event_id, event.event_id);
    }

    #[test]
    fn a_message_of_another_trace_is_no_cause() {
        let edges = Edges::default();
        sent(&edges, "out");
        let mut event = TraceEvent::data_flow("a".into(), "out".into(), "b".into(), "in".into(), "T".into(), 1);
        assert!(!edges.flow(Uuid::max(), &mut event));
        assert_eq!((parent(&event), &event.causality.root_cause_event_id), (None, &event.event_id));
        // Its own next message is, and then no longer the one before.
        let message = TraceEvent::message_sent("a".into(), "out".into(), "T".into(), 1);
        edges.sent(Uuid::max(), &message);
        assert!(edges.flow(Uuid::max(), &mut event));
        assert_eq!((parent(&event), parent(&flow(&edges, "out"))), (Some(message.event_id), None));
    }

    #[tokio::test]
    async fn the_connections_of_one_port_are_kept_apart_by_their_tasks() {
        let edges = Arc::new(Edges::default());
        let both_sent = Arc::new(tokio::sync::Barrier::new(2));
        let connections: Vec<_> = (0..2)
            .map(|_| {
                let (edges, both_sent) = (Arc::clone(&edges), Arc::clone(&both_sent));
                tokio::spawn(async move {
                    let message = sent(&edges, "out");
                    both_sent.wait().await;
                    assert_eq!(parent(&flow(&edges, "out")), Some(message.event_id));
                })
            })
            .collect();
        for connection in connections {
            connection.await.unwrap();
        }
    }

    #[test]
    fn the_memory_of_messages_is_bounded() {
        let edges = Edges::default();
        for port in 0..10_000 {
            let message = sent(&edges, &port.to_string());
            assert_eq!(parent(&flow(&edges, &port.to_string())), Some(message.event_id));
        }
        let kept: usize = edges.shards.iter().map(|shard| shard.lock().unwrap().sent.len()).sum();
        assert_eq!(kept, SHARDS * EDGES_A_SHARD);
    }

    #[test]
    fn a_chain_keeps_the_newest_sixteen() {
        let mut ids = Vec::new();
        let mut event = TraceEvent::actor_created("a".into());
        for _ in 0..20 {
            ids.push(event.event_id.clone());
            let cause = Cause::of(&event);
            event = TraceEvent::actor_created("a".into());
            cause.lead_to(&mut event);
        }
        assert_eq!(event.causality.dependency_chain, ids[4..]);
        assert_eq!(event.causality.root_cause_event_id, ids[0]);
        assert_eq!(parent(&event), ids.last().cloned());
    }

    #[tokio::test]
    async fn a_scope_holds_where_its_future_runs_and_nowhere_else() {
        let in_scope = || {
            let mut event = TraceEvent::actor_created("a".into());
            apply_scope(&mut event);
            parent(&event)
        };
        let (outer, inner) = (TraceEvent::actor_created("a".into()), TraceEvent::actor_created("b".into()));
        let scope = Cause::of(&outer).scope(async {
            assert_eq!(in_scope(), Some(outer.event_id.clone()));
            Cause::of(&inner).run(|| assert_eq!(in_scope(), Some(inner.event_id.clone())));
            tokio::task::yield_now().await;
            assert_eq!(in_scope(), Some(outer.event_id.clone()));
        });
        let beside = async {
            for _ in 0..3 {
                assert_eq!(in_scope(), None);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(scope, beside);
        assert_eq!(in_scope(), None);
    }
}
