//! Statuses of traces for live filters: what headers tell, a bounded cache, then one batched question; unknown is `Running`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use moka::sync::Cache;
use reflow_tracing_chunk::{EndStatus, Header};
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use crate::ask::{Ask, Dialect};
use crate::capabilities::Shared;
use crate::question::encode;

const ENTRIES: u64 = 65_536;
/// A trace's status can change without a word (by idleness): ask again after so long.
const LIFETIME: Duration = Duration::from_secs(5);
/// A live event does not wait longer for its trace's status.
const PATIENCE: Duration = Duration::from_secs(2);

/// Statuses that sessions of this process have learned.
#[derive(Clone)]
pub(crate) struct StatusCache(Cache<Uuid, ExecutionStatus>);

impl Default for StatusCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(ENTRIES).time_to_live(LIFETIME).build())
    }
}

impl StatusCache {
    /// Takes what the header tells.
    pub(crate) fn note(&self, header: &Header) {
        let trace_id = header.trace_uuid();
        if let Some(status) = told(header) {
            self.0.insert(trace_id, status);
        } else if header.closed_us.is_some() {
            // Completed or failed: the store knows whether anything failed.
            self.0.invalidate(&trace_id);
        }
    }

    pub(crate) fn get(&self, trace_id: Uuid) -> Option<ExecutionStatus> {
        self.0.get(&trace_id)
    }

    /// Learns the statuses of those traces that are not known yet, by one question.
    pub(crate) async fn learn(&self, shared: &Shared, trace_ids: Vec<Uuid>) {
        let unknown: Vec<Uuid> = trace_ids.into_iter().filter(|id| !self.0.contains_key(id)).collect();
        let Some(history) = shared.capabilities.history.as_ref().filter(|_| !unknown.is_empty()) else { return };
        let question = encode(shared, Dialect::V2, None, Ask::Statuses { trace_ids: unknown.clone() });
        let known = match question {
            Ok(question) => ask_statuses(Arc::clone(history), question).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
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

async fn ask_statuses(
    history: Arc<dyn reflow_tracing_bus::HistoryClient>,
    question: Bytes,
) -> Option<Vec<(Uuid, ExecutionStatus)>> {
    let answer = async {
        let pieces = history.ask(question, PATIENCE).await?;
        pieces
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => serde_json::from_slice(&answer).ok(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "statuses for live filters are not to be had");
            None
        }
        Err(_) => None,
    }
}
