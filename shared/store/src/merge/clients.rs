//! Clients of a trace within their limit.

use std::collections::{BTreeMap, BTreeSet};

use super::names::OTHER;
use crate::ClientRow;

/// What a commit merges into a trace that has these clients already (and what they recorded): the first clients up to the limit as
/// they are, those beyond it as one. Of that one no sequence can be followed: it has recorded what came of it, so that nothing is told
/// as missing that nobody knows of.
pub(crate) fn within_limit(
    stored: &BTreeMap<String, u64>,
    new: &BTreeMap<String, ClientRow>,
    limit: usize,
) -> Vec<ClientRow> {
    let mut kept: BTreeSet<&str> = stored.keys().map(String::as_str).filter(|client| *client != OTHER).collect();
    let mut rows = Vec::new();
    let mut other: Option<ClientRow> = None;
    for (client_id, row) in new {
        let has_room = kept.len() < limit || kept.contains(client_id.as_str());
        if has_room && client_id != OTHER {
            kept.insert(client_id);
            rows.push(row.clone());
            continue;
        }
        let other = other.get_or_insert_with(|| ClientRow {
            client_id: OTHER.to_owned(),
            recorded: stored.get(OTHER).copied().unwrap_or(0),
            stored: 0,
            dropped: 0,
            rejected: 0,
        });
        other.recorded = other.recorded.saturating_add(row.stored).saturating_add(row.rejected);
        other.stored = other.stored.saturating_add(row.stored);
        other.dropped = other.dropped.max(row.dropped);
        other.rejected = other.rejected.saturating_add(row.rejected);
    }
    rows.extend(other);
    rows.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    rows
}
