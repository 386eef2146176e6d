//! Reading rollups: the SQL backends' question, and the sums that all backends share.

use std::collections::BTreeMap;

use super::statement::{Columns, Reading, Sql, corrupt};
use crate::merge::{Rollup, key_text, minute_of, minute_start_us};
use crate::{Limits, RollupKind, RollupQuery, RollupRow, StoreError};

/// The minutes a question covers: the first rounded down, the end exclusive, but a minute begun counts whole.
pub(crate) fn minutes(query: &RollupQuery) -> std::ops::Range<i64> {
    minute_of(query.from_us)..minute_of(query.to_us.saturating_add(59_999_999))
}

pub(crate) async fn rollups<B: Reading>(backend: &B, query: &RollupQuery) -> Result<Vec<RollupRow>, StoreError> {
    const CONTEXT: &str = "reading rollups";
    let mut sql = Sql::new("SELECT minute, flow_name, events, failures, bytes, ");
    // Only what the kind needs is decoded: an actor's times make a flow's.
    sql.push(match query.kind {
        RollupKind::Flow | RollupKind::Actor => "actors",
        RollupKind::Edge => "edges",
    });
    sql.push(" FROM rollups WHERE tenant = ").text(&key_text(&query.tenant));
    let minutes = minutes(query);
    sql.push(" AND minute >= ").int(minutes.start).push(" AND minute < ").int(minutes.end);
    if let Some(flow) = &query.flow_name {
        sql.push(" AND flow_name = ").text(&key_text(flow));
    }
    let rows = backend.fetch(CONTEXT, sql).await?;
    let mut sums = RollupSums::new(query);
    for row in &rows {
        let mut read = || {
            let counts = [row.count(2)?, row.count(3)?, row.count(4)?];
            let bytes = row.bytes(5)?;
            let (actors, edges): (&[u8], &[u8]) =
                if query.kind == RollupKind::Edge { (&[], bytes) } else { (bytes, &[]) };
            sums.add(row.int(0)?, &row.text(1)?, Rollup::read(counts, actors, edges).map_err(corrupt)?);
            Ok(())
        };
        read().map_err(|error| backend.error(CONTEXT, error))?;
    }
    Ok(sums.rows())
}

/// Sums rollups over writer slots, and over minutes when asked to. Without limits: what is stored is bounded.
#[derive(Debug)]
pub(crate) struct RollupSums<'q> {
    query: &'q RollupQuery,
    sums: BTreeMap<(i64, String), Rollup>,
}

impl<'q> RollupSums<'q> {
    pub fn new(query: &'q RollupQuery) -> Self {
        Self { query, sums: BTreeMap::new() }
    }

    pub fn add(&mut self, minute: i64, flow_name: &str, rollup: Rollup) {
        let unlimited = Limits { actors_per_flow: usize::MAX, edges_per_flow: usize::MAX, ..Limits::default() };
        let at_us = if self.query.by_minute { minute_start_us(minute) } else { self.query.from_us };
        self.sums.entry((at_us, flow_name.to_owned())).or_default().merge(&rollup, &unlimited);
    }

    /// By time, then flow name, then names.
    pub fn rows(self) -> Vec<RollupRow> {
        let kind = self.query.kind;
        self.sums.into_iter().flat_map(|((at_us, flow), rollup)| rollup.rows(kind, at_us, &flow)).collect()
    }
}
