//! The reading half, once for both SQL backends (rollups: `rollups`).

use std::collections::{BTreeMap, HashMap};

use reflow_tracing_chunk::Header;
use uuid::Uuid;

use super::filter::{Prepared, Source};
use super::statement::{Arg, Columns, Reading, Sql, corrupt};
use crate::merge::compaction::holds_id;
use crate::merge::{ActorSums, FlowMark, TraceRow, VersionKey, VersionTimes, key_text, newest_first};
use crate::{
    ActorRow, ChunkCursor, ChunkPage, ClientRow, FlowVersionRow, Page, QueryPage, StoreError, StoredChunk, TraceFilter,
    TraceHead, TraceSummary,
};

/// Columns of a summary, in the order [`trace_row`] reads them.
pub(crate) const TRACE_COLUMNS: &str = "t.seq, t.trace_id, t.tenant, t.flow_rank, t.flow_id, t.flow_name, t.execution_id, \
     t.version, t.metadata, t.first_event_us, t.last_event_us, t.first_received_us, t.last_active_us, t.event_count, \
     t.stored_events, t.event_types, t.failures, t.first_error, t.ended, t.closed_us, CAST(t.exact AS BIGINT), t.loose_chunks, \
     t.left_out_milli";

/// Up to so many traces of an actor are looked up one by one and sorted without looking further.
const FEW_TRACES: u64 = 1_000;

/// Beyond so many it no longer matters how many there are.
const MANY_TRACES: i64 = 20_000;

/// Chunks looked at to find where a page of chunks ends.
const CHUNKS_PER_PAGE: i64 = 512;

type Row<T> = Result<T, sqlx::Error>;

/// A summary and what other tables know it by.
pub(crate) fn trace_row(row: &impl Columns) -> Row<(i64, TraceRow)> {
    let flow = match (row.int_opt(3)?, row.text_opt(4)?, row.text_opt(5)?) {
        (Some(rank_us), Some(id), Some(name)) => Some(FlowMark { rank_us, id, name }),
        _ => None,
    };
    let trace = TraceRow {
        trace_id: row.id(1)?,
        tenant: row.text(2)?,
        flow,
        execution_id: row.id_opt(6)?,
        version: row.bytes_opt(7)?.map(<[u8]>::to_vec),
        metadata: row.bytes_opt(8)?.map(<[u8]>::to_vec),
        first_event_us: row.int_opt(9)?,
        last_event_us: row.int_opt(10)?,
        first_received_us: row.int(11)?,
        last_active_us: row.int_opt(12)?,
        event_count: row.count(13)?,
        stored_events: row.count(14)?,
        event_types: u32::try_from(row.int(15)?).unwrap_or(u32::MAX),
        failures: row.count(16)?,
        first_error: row.bytes_opt(17)?.map(<[u8]>::to_vec),
        ended: row.bytes_opt(18)?.map(<[u8]>::to_vec),
        closed_us: row.int_opt(19)?,
        exact: row.int(20)? != 0,
        loose_chunks: row.count(21)?,
        left_out_milli: row.count(22)?,
    };
    Ok((row.int(0)?, trace))
}

/// Summaries by a statement that selects [`TRACE_COLUMNS`], with their clients.
async fn summaries<B: Reading>(
    backend: &B,
    context: &'static str,
    sql: Sql,
    now_us: i64,
    trace_idle_us: i64,
) -> Result<Vec<TraceSummary>, StoreError> {
    let rows = backend.fetch(context, sql).await?;
    let traces: Vec<(i64, TraceRow)> =
        rows.iter().map(trace_row).collect::<Row<_>>().map_err(|error| backend.error(context, error))?;
    let mut clients = clients_of(backend, traces.iter().map(|(seq, _)| *seq)).await?;
    let summary =
        |(seq, row): (i64, TraceRow)| row.summary(clients.remove(&seq).unwrap_or_default(), now_us, trace_idle_us);
    Ok(traces.into_iter().map(summary).collect())
}

async fn clients_of<B: Reading>(
    backend: &B,
    traces: impl Iterator<Item = i64> + Send,
) -> Result<HashMap<i64, Vec<ClientRow>>, StoreError> {
    const CONTEXT: &str = "reading clients of traces";
    let seqs: Vec<Arg> = traces.map(Arg::Int).collect();
    let mut clients: HashMap<i64, Vec<ClientRow>> = HashMap::new();
    for seqs in seqs.chunks(500) {
        let mut sql =
            Sql::new("SELECT trace, client_id, recorded, stored, dropped, rejected FROM trace_clients WHERE trace IN ");
        sql.list(seqs.iter().cloned()).push(" ORDER BY trace, client_id");
        for row in backend.fetch(CONTEXT, sql).await? {
            let client = || {
                Ok(ClientRow {
                    client_id: row.text(1)?,
                    recorded: row.count(2)?,
                    stored: row.count(3)?,
                    dropped: row.count(4)?,
                    rejected: row.count(5)?,
                })
            };
            let seq = row.int(0).map_err(|error| backend.error(CONTEXT, error))?;
            let client = client().map_err(|error| backend.error(CONTEXT, error))?;
            clients.entry(seq).or_default().push(client);
        }
    }
    Ok(clients)
}

pub(crate) async fn find_trace<B: Reading>(
    backend: &B,
    tenant: &str,
    id: Uuid,
    now_us: i64,
) -> Result<Option<TraceSummary>, StoreError> {
    const CONTEXT: &str = "finding a trace";
    let idle = backend.trace_idle_us();
    let mut sql = Sql::new("SELECT ");
    sql.push(TRACE_COLUMNS).push(" FROM traces t WHERE t.trace_id = ").id(id);
    sql.push(" AND t.tenant = ").text(&key_text(tenant));
    if let Some(found) = summaries(backend, CONTEXT, sql, now_us, idle).await?.pop() {
        return Ok(Some(found));
    }
    // No trace's own id: perhaps one that a v1 program sent.
    let mut sql =
        Sql::new("SELECT a.trace, a.ids FROM trace_aliases a JOIN traces t ON t.seq = a.trace WHERE t.tenant = ");
    sql.text(&key_text(tenant)).push(" AND ");
    backend.position("a.ids", id, &mut sql);
    sql.push(" > 0");
    for row in backend.fetch(CONTEXT, sql).await? {
        // The position may lie across two ids.
        let read = || Ok((row.int(0)?, holds_id(row.bytes(1)?, id)));
        let (seq, holds) = read().map_err(|error| backend.error(CONTEXT, error))?;
        if holds {
            let mut sql = Sql::new("SELECT ");
            sql.push(TRACE_COLUMNS).push(" FROM traces t WHERE t.seq = ").int(seq);
            return Ok(summaries(backend, CONTEXT, sql, now_us, idle).await?.pop());
        }
    }
    Ok(None)
}

pub(crate) async fn trace_chunks<B: Reading>(
    backend: &B,
    tenant: &str,
    trace_id: Uuid,
    after: Option<ChunkCursor>,
    max_bytes: usize,
) -> Result<ChunkPage, StoreError> {
    const CONTEXT: &str = "reading chunks of a trace";
    // Which chunks are in the page is decided on the index and the lengths, so that no payload is read in vain.
    let mut sql = Sql::new(
        "SELECT c.first_us, c.chunk_id, c.header, c.payload FROM (\
         SELECT r.*, sum(size) OVER (ORDER BY first_us, chunk_id) - size AS ahead FROM (\
         SELECT c.trace, c.first_us, c.chunk_id, octet_length(c.payload) AS size FROM chunks c JOIN traces t ON t.seq = c.trace \
         WHERE t.trace_id = ",
    );
    sql.id(trace_id).push(" AND t.tenant = ").text(&key_text(tenant)).push(" AND c.first_us IS NOT NULL");
    if let Some(ChunkCursor(first_us, chunk_id)) = after {
        sql.push(" AND (c.first_us, c.chunk_id) > ").list([Arg::Int(first_us), Arg::Id(chunk_id)]);
    }
    sql.push(" ORDER BY c.first_us, c.chunk_id LIMIT ").int(CHUNKS_PER_PAGE).push(") AS r) AS s JOIN chunks c ");
    sql.push("ON c.trace = s.trace AND c.first_us = s.first_us AND c.chunk_id = s.chunk_id WHERE s.ahead < ");
    sql.int(i64::try_from(max_bytes.max(1)).unwrap_or(i64::MAX)).push(" ORDER BY c.first_us, c.chunk_id");

    let rows = backend.fetch(CONTEXT, sql).await?;
    let read = |row: &B::Row| -> Row<(ChunkCursor, StoredChunk)> {
        let header = Header::from_bytes(row.bytes(2)?).map_err(corrupt)?;
        let payload = row.bytes(3)?.to_vec().into();
        Ok((ChunkCursor(row.int(0)?, row.id(1)?), StoredChunk { header, payload }))
    };
    let read: Vec<_> = rows.iter().map(read).collect::<Row<_>>().map_err(|error| backend.error(CONTEXT, error))?;
    // A page that is not full in bytes nor in chunks was the last one; a full one may have been, and then the next is empty.
    let bytes: usize = read.iter().map(|(_, chunk)| chunk.payload.len()).sum();
    let full = bytes >= max_bytes || read.len() as i64 >= CHUNKS_PER_PAGE;
    let next = read.last().map(|(cursor, _)| *cursor).filter(|_| full);
    Ok(ChunkPage { chunks: read.into_iter().map(|(_, chunk)| chunk).collect(), next })
}

pub(crate) async fn query<B: Reading>(
    backend: &B,
    filter: &TraceFilter,
    page: &Page,
    now_us: i64,
) -> Result<QueryPage, StoreError> {
    const CONTEXT: &str = "querying traces";
    let prepared = Prepared::new(filter, now_us);
    if prepared.matches_nothing() {
        return Ok(QueryPage { traces: Vec::new(), total: 0 });
    }
    let (source, known) = match prepared.source() {
        Some(source) => (source, None),
        None => actors_source(backend, &prepared, page).await?,
    };
    if known == Some(0) || (known.is_some() && page.limit == 0) {
        return Ok(QueryPage { traces: Vec::new(), total: known.unwrap_or_default() });
    }
    let mut traces = Vec::new();
    if page.limit > 0 {
        let sql = prepared.page(source, TRACE_COLUMNS, page);
        traces = summaries(backend, CONTEXT, sql, now_us, filter.trace_idle_us).await?;
        // The whole answer is on the page.
        if page.offset == 0 && page.after.is_none() && traces.len() < page.limit {
            let total = traces.len() as u64;
            return Ok(QueryPage { traces, total });
        }
    }
    let total = match known {
        Some(total) => total,
        None => count(backend, CONTEXT, prepared.count(source)).await?,
    };
    Ok(QueryPage { traces, total })
}

/// Where to begin when an actor is asked for, and the total when it had to be found out for that.
async fn actors_source<B: Reading>(
    backend: &B,
    prepared: &Prepared<'_>,
    page: &Page,
) -> Result<(Source, Option<u64>), StoreError> {
    const CONTEXT: &str = "counting traces of an actor";
    let of_actor = count(backend, CONTEXT, prepared.count_actor(MANY_TRACES)).await?;
    if of_actor <= FEW_TRACES {
        return Ok((Source::Actor, None));
    }
    let others = count(backend, CONTEXT, prepared.count_without_actor(MANY_TRACES)).await?;
    let fewer = if others < of_actor { Source::Traces } else { Source::Actor };
    let total = match prepared.is_actor_alone() {
        true if of_actor < MANY_TRACES as u64 => of_actor,
        true => count(backend, CONTEXT, prepared.count_actor(i64::MAX)).await?,
        false => count(backend, CONTEXT, prepared.count(fewer)).await?,
    };
    // Passing over the newest finds the page after so many, if the actor's are spread evenly.
    let reach = page.limit.saturating_add(page.offset) as u64;
    let passed_over = reach.saturating_mul(others) / total.max(1);
    Ok((if passed_over < of_actor { Source::Traces } else { Source::Actor }, Some(total)))
}

async fn count<B: Reading>(backend: &B, context: &'static str, sql: Sql) -> Result<u64, StoreError> {
    let rows = backend.fetch(context, sql).await?;
    first_count(backend, context, &rows)
}

/// The number that a statement of one row and column gives.
pub(crate) fn first_count<B: Reading>(backend: &B, context: &'static str, rows: &[B::Row]) -> Result<u64, StoreError> {
    let row = rows.first().ok_or(sqlx::Error::RowNotFound);
    row.and_then(|row| row.count(0)).map_err(|error| backend.error(context, error))
}

pub(crate) async fn flow_versions<B: Reading>(
    backend: &B,
    tenant: &str,
    flow: &str,
) -> Result<Vec<FlowVersionRow>, StoreError> {
    const CONTEXT: &str = "reading versions of a flow";
    let (tenant, flow) = (key_text(tenant), key_text(flow));
    // By name; else by the name of the newest trace with that flow id.
    let mut sql = Sql::new(
        "SELECT tenant, flow_name, major, minor, patch, CAST(told_hash AS BIGINT), git_hash, timestamp_us, first_us, last_us \
         FROM flow_versions WHERE tenant = ",
    );
    sql.text(&tenant)
        .push(" AND flow_name = coalesce((SELECT flow_name FROM flow_versions WHERE tenant = ")
        .text(&tenant);
    sql.push(" AND flow_name = ").text(&flow).push(" LIMIT 1), (SELECT t.flow_name FROM traces t WHERE t.tenant = ");
    sql.text(&tenant).push(" AND t.flow_id <> t.flow_name AND t.flow_id = ").text(&flow);
    sql.push(" ORDER BY t.start_us DESC, t.trace_id DESC LIMIT 1))");
    let rows = backend.fetch(CONTEXT, sql).await?;
    let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut versions: BTreeMap<VersionKey, VersionTimes> = BTreeMap::new();
    let mut add = |row: &B::Row| -> Row<()> {
        let key = VersionKey {
            tenant: row.text(0)?,
            flow_name: row.text(1)?,
            major: number(row.int(2)?),
            minor: number(row.int(3)?),
            patch: number(row.int(4)?),
            git_hash: (row.int(5)? != 0).then(|| row.text(6)).transpose()?,
        };
        let times = VersionTimes { timestamp_us: row.int(7)?, first_us: row.int(8)?, last_us: row.int(9)? };
        versions.entry(key).and_modify(|mine| mine.merge(times)).or_insert(times);
        Ok(())
    };
    rows.iter().try_for_each(&mut add).map_err(|error| backend.error(CONTEXT, error))?;
    let mut rows: Vec<FlowVersionRow> = versions.into_iter().map(|(key, times)| key.row(times)).collect();
    newest_first(&mut rows);
    Ok(rows)
}

pub(crate) async fn heads<B: Reading>(
    backend: &B,
    tenant: &str,
    ids: &[Uuid],
    now_us: i64,
) -> Result<Vec<TraceHead>, StoreError> {
    const CONTEXT: &str = "reading heads of traces";
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(500) {
        let mut sql = Sql::new("SELECT ");
        sql.push(TRACE_COLUMNS).push(" FROM traces t WHERE t.tenant = ").text(&key_text(tenant));
        sql.push(" AND t.trace_id IN ").list(ids.iter().copied().map(Arg::Id));
        for row in backend.fetch(CONTEXT, sql).await? {
            let (_, row) = trace_row(&row).map_err(|error| backend.error(CONTEXT, error))?;
            found.push(row.summary(Vec::new(), now_us, backend.trace_idle_us()).into());
        }
    }
    Ok(found)
}

pub(crate) async fn trace_actors<B: Reading>(
    backend: &B,
    tenant: &str,
    trace_id: Uuid,
) -> Result<Vec<ActorRow>, StoreError> {
    const CONTEXT: &str = "reading actors of a trace";
    let mut sql = Sql::new("SELECT c.header FROM chunks c JOIN traces t ON t.seq = c.trace WHERE t.trace_id = ");
    sql.id(trace_id).push(" AND t.tenant = ").text(&key_text(tenant)).push(" AND c.first_us IS NOT NULL");
    let mut sums = ActorSums::default();
    for row in backend.fetch(CONTEXT, sql).await? {
        let header = row.bytes(0).and_then(|bytes| Header::from_bytes(bytes).map_err(corrupt));
        sums.add(header.map_err(|error| backend.error(CONTEXT, error))?);
    }
    Ok(sums.rows(backend.limits().actors_per_trace))
}
