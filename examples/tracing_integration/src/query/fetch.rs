//! Gets traces from the server, page by page, and whole traces one by one.
//!
//! Whole traces come a few at a time, in the order of the list, and go on to their reader at once: a thousand of them need the
//! memory of four.

use std::pin::pin;

use anyhow::{Context, Result};
use chrono::Utc;
use futures_util::{StreamExt, stream};
use reflow_tracing_protocol::client::{TraceSummary, TracingClient, TracingError};
use reflow_tracing_protocol::{FlowId, FlowTrace, TraceQuery};

use crate::shared::names::{StatusName, TimeRange};
use crate::shared::protocol::Protocol;
use crate::shared::terminal;

/// Traces on their way at once.
const AT_ONCE: usize = 4;
/// Traces asked for in one question.
const PAGE: u64 = 100;

/// Which traces are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this flow, by id or name.
    pub flow_id: Option<String>,
    /// Of this time.
    pub time_range: Option<TimeRange>,
    /// Of this status.
    pub status: Option<StatusName>,
    /// In which this actor took part.
    pub actor: Option<String>,
    /// At most so many.
    pub limit: u64,
}

/// What a query found.
pub struct Found {
    /// Newest start first, at most as many as were asked for.
    pub traces: Vec<TraceSummary>,
    /// How many there are in all; `None` when nobody knows.
    pub total: Option<u64>,
    /// Who answered.
    pub protocol: Protocol,
}

/// Finds traces.
///
/// The published server, which speaks v1, tells as the total how many traces are in its answer, and takes a failure without a text for
/// one whose text is empty. There the list goes on until a page is not full, and failures are sorted out here.
///
/// # Errors
/// When the server refuses or is gone.
pub async fn find(client: &TracingClient, wanted: &Wanted) -> Result<Found> {
    let time_range = wanted.time_range.map(|range| range.ends(Utc::now()));
    let protocol = Protocol::of(client);
    let sort_out = wanted.status.filter(|status| protocol == Protocol::V1 && *status == StatusName::Failed);
    let mut found = Found { traces: Vec::new(), total: None, protocol };
    let mut after: Option<String> = None;
    let mut seen = 0;
    loop {
        let left = wanted.limit - found.traces.len() as u64;
        let asked = if sort_out.is_some() { PAGE } else { PAGE.min(left) };
        let query = TraceQuery {
            flow_id: wanted.flow_id.clone().map(FlowId),
            execution_id: None,
            time_range,
            status: wanted.status.filter(|_| sort_out.is_none()).map(|status| status.wanted()),
            actor_filter: wanted.actor.clone(),
            limit: Some(asked as usize),
            // Where a server knows no pages, it knows offsets.
            offset: (after.is_none() && seen > 0).then_some(seen as usize),
        };
        let page = client.find_traces(query, after.as_deref()).await.context("the server did not answer the query")?;
        let came = page.traces.len() as u64;
        seen += came;
        let fits = |trace: &TraceSummary| sort_out.is_none_or(|status| status.is(&trace.status));
        found.traces.extend(page.traces.into_iter().filter(fits));
        after = page.next;
        let last = match protocol {
            Protocol::V1 => came < asked,
            Protocol::V2 => came == 0 || seen >= page.total,
        };
        let have = found.traces.len() as u64;
        found.total = match protocol {
            Protocol::V1 => last.then_some(have),
            Protocol::V2 => Some(page.total.max(have)),
        };
        if last || have >= wanted.limit {
            found.traces.truncate(wanted.limit as usize);
            return Ok(found);
        }
    }
}

/// Traces that were not given.
#[derive(Debug, Default)]
pub struct Left {
    /// Retention took them in the meantime.
    pub gone: usize,
    /// The server's reasons to refuse one, such as that it is too large for an answer.
    pub refused: Vec<String>,
}

/// Gets these traces whole and hands them to `take`, in order. One that is refused does not cost the others.
///
/// # Errors
/// When the server is gone, or `take` fails.
pub async fn whole(
    client: &TracingClient,
    traces: &[TraceSummary],
    mut take: impl FnMut(FlowTrace) -> Result<()>,
) -> Result<Left> {
    let bar = terminal::progress(traces.len() as u64, "fetching traces");
    let mut left = Left::default();
    let fetched = stream::iter(traces).map(|summary| client.get_trace(summary.trace_id.clone())).buffered(AT_ONCE);
    let mut fetched = pin!(fetched);
    while let Some(trace) = fetched.next().await {
        match trace {
            Ok(Some(trace)) => take(trace)?,
            Ok(None) => left.gone += 1,
            Err(TracingError::WebSocketError(reason)) => left.refused.push(reason),
            Err(error) => return Err(error).context("the server did not give a trace"),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(left)
}
