//! The reading half: walks the maps.

use async_trait::async_trait;
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use super::MemoryStore;
use super::state::KeptTrace;
use crate::merge::{ActorSums, actor_key, key_text, newest_first};
use crate::sql::rollups::{RollupSums, minutes};
use crate::{
    ActorRow, ChunkCursor, ChunkPage, FlowVersionRow, Page, QueryPage, RollupQuery, RollupRow, StoreError, StoreReader,
    StoreStats, StoredChunk, TraceFilter, TraceHead, TraceSummary,
};

impl KeptTrace {
    fn summary(&self, now_us: i64, trace_idle_us: i64) -> TraceSummary {
        self.row.clone().summary(self.clients.values().cloned().collect(), now_us, trace_idle_us)
    }

    fn matches(&self, filter: &TraceFilter, now_us: i64) -> bool {
        let row = &self.row;
        let flow = |wanted: &String| {
            let wanted = key_text(wanted);
            row.flow.as_ref().is_some_and(|flow| flow.name == *wanted || flow.id == *wanted)
        };
        let start = |(from_us, to_us): (i64, i64)| (from_us..=to_us).contains(&row.start_us());
        filter.flow.as_ref().is_none_or(flow)
            && filter.execution_id.is_none_or(|id| row.execution_id.unwrap_or(row.trace_id) == id)
            && filter.start_us.is_none_or(start)
            && filter.active_since_us.is_none_or(|since_us| row.last_received_us() >= since_us)
            && filter.actor.as_ref().is_none_or(|actor| self.actors.contains(&actor_key(&filter.tenant, actor)))
            && filter
                .status
                .as_ref()
                .is_none_or(|wanted| same_status(wanted, &self.summary(now_us, filter.trace_idle_us).status.status))
    }
}

fn same_status(wanted: &ExecutionStatus, found: &ExecutionStatus) -> bool {
    match (wanted, found) {
        (ExecutionStatus::Pending, _) => false,
        (ExecutionStatus::Failed { error: wanted }, ExecutionStatus::Failed { error }) => {
            wanted.is_empty() || wanted == error
        }
        (wanted, found) => wanted == found,
    }
}

#[async_trait]
impl StoreReader for MemoryStore {
    async fn find_trace(&self, tenant: &str, id: Uuid, now_us: i64) -> Result<Option<TraceSummary>, StoreError> {
        let state = self.state();
        let tenant = key_text(tenant).into_owned();
        let found = state.traces.get(&(id, tenant.clone())).or_else(|| {
            let sent = |(key, trace): &(_, &KeptTrace)| {
                let (_, owner): &&(Uuid, String) = key;
                *owner == tenant && trace.aliases.contains(&id)
            };
            state.traces.iter().find(sent).map(|(_, trace)| trace)
        });
        Ok(found.map(|trace| trace.summary(now_us, self.trace_idle_us)))
    }

    async fn trace_chunks(
        &self,
        tenant: &str,
        trace_id: Uuid,
        after: Option<ChunkCursor>,
        max_bytes: usize,
    ) -> Result<ChunkPage, StoreError> {
        let mut page = ChunkPage { chunks: Vec::new(), next: None };
        let state = self.state();
        let Some(trace) = state.traces.get(&(trace_id, key_text(tenant).into_owned())) else { return Ok(page) };
        let mut bytes = 0;
        for ((first_us, chunk_id), chunk) in &trace.chunks {
            let Some(first_us) = first_us else { continue };
            let cursor = ChunkCursor(*first_us, *chunk_id);
            if after.is_some_and(|after| cursor <= after) {
                continue;
            }
            bytes += chunk.payload.len();
            page.chunks.push(StoredChunk { header: chunk.header.clone(), payload: chunk.payload.clone() });
            if bytes >= max_bytes {
                page.next = Some(cursor);
                break;
            }
        }
        Ok(page)
    }

    async fn query(&self, filter: &TraceFilter, page: &Page, now_us: i64) -> Result<QueryPage, StoreError> {
        let state = self.state();
        let tenant = key_text(&filter.tenant);
        let mut found: Vec<&KeptTrace> = state
            .traces
            .iter()
            .filter(|((_, owner), trace)| *owner == *tenant && trace.matches(filter, now_us))
            .map(|(_, trace)| trace)
            .collect();
        let place = |trace: &KeptTrace| (trace.row.start_us(), trace.row.trace_id);
        found.sort_by_key(|trace| std::cmp::Reverse(place(trace)));
        let total = found.len() as u64;
        let after = |trace: &&&KeptTrace| page.after.is_none_or(|after| place(trace) < after);
        let traces = found
            .iter()
            .filter(after)
            .skip(page.offset)
            .take(page.limit)
            .map(|trace| trace.summary(now_us, filter.trace_idle_us))
            .collect();
        Ok(QueryPage { traces, total })
    }

    async fn flow_versions(&self, tenant: &str, flow: &str) -> Result<Vec<FlowVersionRow>, StoreError> {
        let state = self.state();
        let (tenant, flow) = (key_text(tenant), key_text(flow));
        let of = |name: &str| -> Vec<FlowVersionRow> {
            let wanted = state.versions.iter().filter(|(key, _)| key.tenant == *tenant && key.flow_name == name);
            wanted.map(|(key, times)| key.clone().row(*times)).collect()
        };
        let mut rows = of(&flow);
        if rows.is_empty() {
            let ran = state.traces.values().filter(|trace| trace.row.tenant == *tenant).filter_map(|trace| {
                let flow_mark = trace.row.flow.as_ref().filter(|mark| mark.id == *flow && mark.id != mark.name)?;
                Some(((trace.row.start_us(), trace.row.trace_id), &flow_mark.name))
            });
            if let Some((_, name)) = ran.max() {
                rows = of(name);
            }
        }
        newest_first(&mut rows);
        Ok(rows)
    }

    async fn heads(&self, tenant: &str, ids: &[Uuid], now_us: i64) -> Result<Vec<TraceHead>, StoreError> {
        let state = self.state();
        let tenant = key_text(tenant).into_owned();
        let traces = ids.iter().filter_map(|id| state.traces.get(&(*id, tenant.clone())));
        Ok(traces.map(|trace| trace.summary(now_us, self.trace_idle_us).into()).collect())
    }

    async fn trace_actors(&self, tenant: &str, trace_id: Uuid) -> Result<Vec<ActorRow>, StoreError> {
        let state = self.state();
        let mut sums = ActorSums::default();
        if let Some(trace) = state.traces.get(&(trace_id, key_text(tenant).into_owned())) {
            trace.chunks.values().for_each(|chunk| sums.add(chunk.header.clone()));
        }
        Ok(sums.rows(state.limits.actors_per_trace))
    }

    async fn rollups(&self, query: &RollupQuery) -> Result<Vec<RollupRow>, StoreError> {
        let state = self.state();
        let tenant = key_text(&query.tenant);
        let minutes = minutes(query);
        let mut sums = RollupSums::new(query);
        for (key, rollup) in &state.rollups {
            let wanted = query.flow_name.as_deref().is_none_or(|flow| key.flow_name == *key_text(flow));
            if wanted && key.tenant == *tenant && minutes.contains(&key.minute) {
                sums.add(key.minute, &key.flow_name, rollup.clone());
            }
        }
        Ok(sums.rows())
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let state = self.state();
        let traces = state.traces.values();
        let sum = |of: fn(&KeptTrace) -> usize| traces.clone().map(of).sum::<usize>() as u64;
        let bytes = |trace: &KeptTrace| trace.chunks.values().map(|chunk| chunk.payload.len()).sum();
        Ok(StoreStats {
            rows: vec![
                ("seen", state.seen.len() as u64),
                ("traces", state.traces.len() as u64),
                ("chunks", sum(|trace| trace.chunks.len())),
                ("trace_actors", sum(|trace| trace.actors.len())),
                ("trace_clients", sum(|trace| trace.clients.len())),
                ("flow_versions", state.versions.len() as u64),
                ("rollups", state.rollups.len() as u64),
            ],
            bytes: sum(bytes),
            traces: state.traces.len() as u64,
            events: traces.clone().map(|trace| trace.row.event_count).sum(),
            newest_received_us: traces.map(|trace| trace.row.last_received_us()).max(),
        })
    }
}
