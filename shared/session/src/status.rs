//! Statuses of traces for live filters: what headers tell as they pass, a bounded cache, then one batched question; unknown is `Running`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use moka::sync::Cache;
use reflow_tracing_chunk::{EndStatus, Header};
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use crate::ask::Ask;
use crate::capabilities::Shared;
use crate::look_up::{LIFETIME, look_up};

const ENTRIES: u64 = 65_536;
/// Ends that a subscription remembers; forgetting costs a question.
const MAX_SEEN: usize = 4_096;

/// The explicit ends that one subscription has seen pass. Not shared: a slower one would judge what came before an end by an end that
/// only a quicker one has seen.
#[derive(Default)]
pub(crate) struct SeenEnds(Mutex<HashMap<Uuid, ExecutionStatus>>);

impl SeenEnds {
    /// The status of the chunk's trace, if an end was told in it or before it.
    pub(crate) fn pass(&self, header: &Header) -> Option<ExecutionStatus> {
        let trace_id = header.trace_uuid();
        let mut ends = self.lock();
        if let Some(status) = told(header) {
            if ends.len() >= MAX_SEEN && !ends.contains_key(&trace_id) {
                ends.clear();
            }
            ends.insert(trace_id, status);
        }
        ends.get(&trace_id).cloned()
    }

    /// Whether an end has passed.
    pub(crate) fn contains(&self, trace_id: Uuid) -> bool {
        self.lock().contains_key(&trace_id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, ExecutionStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Statuses that sessions of this process have asked for.
#[derive(Clone)]
pub(crate) struct StatusCache(Cache<Uuid, ExecutionStatus>);

impl Default for StatusCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(ENTRIES).time_to_live(LIFETIME).build())
    }
}

impl StatusCache {
    /// The peer of a v1 program has gone: completed or failed, and the store knows which.
    pub(crate) fn note(&self, header: &Header) {
        if header.closed_us.is_some() {
            self.0.invalidate(&header.trace_uuid());
        }
    }

    pub(crate) fn get(&self, trace_id: Uuid) -> Option<ExecutionStatus> {
        self.0.get(&trace_id)
    }

    /// Learns the statuses of those traces that are not known yet, by one question.
    pub(crate) async fn learn(&self, shared: &Shared, trace_ids: Vec<Uuid>) {
        let unknown: Vec<Uuid> = trace_ids.into_iter().filter(|id| !self.0.contains_key(id)).collect();
        if unknown.is_empty() {
            return;
        }
        let known: Vec<(Uuid, ExecutionStatus)> = look_up(shared, Ask::Statuses { trace_ids: unknown.clone() }).await;
        for id in unknown {
            let status = known.iter().find(|(known, _)| *known == id).map(|(_, status)| status.clone());
            self.0.insert(id, status.unwrap_or(ExecutionStatus::Running));
        }
    }
}

/// The status that an explicit end gives.
fn told(header: &Header) -> Option<ExecutionStatus> {
    let end = header.ended.as_ref()?;
    Some(match end.status() {
        EndStatus::Completed => ExecutionStatus::Completed,
        EndStatus::Cancelled => ExecutionStatus::Cancelled,
        EndStatus::Failed => ExecutionStatus::Failed { error: end.error.clone() },
    })
}
