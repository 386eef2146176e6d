//! Ids of chunks that a viewer has been shown one way, so that they are left out where they come another.

use std::collections::{HashSet, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{BoxStream, StreamExt};
use reflow_tracing_bus::TailItem;
use uuid::Uuid;

/// The newest ids are remembered, so many: what comes both ways was received just before.
const REMEMBERED: usize = 65_536;

/// Chunk ids that have been shown. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Ids>>);

#[derive(Default)]
struct Ids {
    known: HashSet<Uuid>,
    in_order: VecDeque<Uuid>,
}

impl Shown {
    /// False when it was shown before.
    pub(crate) fn insert(&self, id: Uuid) -> bool {
        let mut ids = self.lock();
        if !ids.known.insert(id) {
            return false;
        }
        ids.in_order.push_back(id);
        if ids.in_order.len() > REMEMBERED
            && let Some(oldest) = ids.in_order.pop_front()
        {
            ids.known.remove(&oldest);
        }
        true
    }

    /// The stream without what has been shown by the time at which it comes.
    pub(crate) fn left_out_of(self, stream: BoxStream<'static, TailItem>) -> BoxStream<'static, TailItem> {
        let again = move |item: &TailItem| match item {
            TailItem::Chunk(chunk) => self.contains(chunk.header.chunk_uuid()),
            TailItem::Missed(_) => false,
        };
        stream.filter(move |item| ready(!again(item))).boxed()
    }

    /// Whether these are one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether anybody else has it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn contains(&self, id: Uuid) -> bool {
        self.lock().known.contains(&id)
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_ids_are_remembered() {
        let shown = Shown::default();
        let ids: Vec<Uuid> = (0..REMEMBERED as u128 + 10).map(Uuid::from_u128).collect();
        assert!(ids.iter().all(|id| shown.insert(*id)));
        assert!(!shown.contains(ids[0]) && shown.contains(ids[10]));
    }
}
