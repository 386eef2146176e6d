//! Clients of traces within their limit: what a commit writes of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::commit::{CommitSteps, StoredTrace};
use crate::merge::{TraceDelta, within_limit};
use crate::{ClientRow, Limits};

/// Rows of clients, each with its trace. Only traces that were there before are looked at for how many clients they have; the summary is
/// locked by then, so that nobody adds one meanwhile.
pub(crate) async fn rows<'d>(
    steps: &mut dyn CommitSteps,
    deltas: &[&'d TraceDelta],
    traces: &[StoredTrace],
    limits: &Limits,
) -> Result<Vec<(i64, Cow<'d, ClientRow>)>, sqlx::Error> {
    let limit = limits.clients_per_trace;
    // A trace of nothing but empty batches is not known from a new one.
    let is_new = |delta: &TraceDelta, trace: &StoredTrace| {
        delta.row.event_count > 0 && delta.row.event_count == trace.event_count
    };
    let told = || deltas.iter().zip(traces).filter(|(delta, _)| !delta.clients.is_empty());
    let old: Vec<i64> = told().filter(|(delta, trace)| !is_new(delta, trace)).map(|(_, trace)| trace.seq).collect();
    let counts: HashMap<i64, u64> = match old.is_empty() {
        true => HashMap::new(),
        false => steps.count_clients(&old).await?.into_iter().collect(),
    };
    let mut rows = Vec::new();
    for (delta, trace) in told() {
        let count = usize::try_from(counts.get(&trace.seq).copied().unwrap_or(0)).unwrap_or(usize::MAX);
        if count.saturating_add(delta.clients.len()) <= limit {
            rows.extend(delta.clients.values().map(|client| (trace.seq, Cow::Borrowed(client))));
            continue;
        }
        let stored: BTreeMap<String, u64> = steps.clients_of(trace.seq).await?.into_iter().collect();
        let kept = within_limit(&stored, &delta.clients, limit);
        rows.extend(kept.into_iter().map(|client| (trace.seq, Cow::Owned(client))));
    }
    Ok(rows)
}
