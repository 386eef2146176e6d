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

use super::args::Args;
use crate::shared::terminal;

/// Traces on their way at once.
const AT_ONCE: usize = 4;
/// Traces asked for in one question.
const PAGE: u64 = 100;

/// What a query found.
pub struct Found {
    /// Newest start first, at most as many as were asked for.
    pub traces: Vec<TraceSummary>,
    /// How many there are in all.
    pub total: u64,
}

/// Finds traces.
///
/// # Errors
/// When the server refuses or is gone.
pub async fn find(client: &TracingClient, args: &Args) -> Result<Found> {
    let time_range = args.time_range.map(|range| range.ends(Utc::now()));
    let mut found = Found { traces: Vec::new(), total: 0 };
    let mut after: Option<String> = None;
    loop {
        let have = found.traces.len() as u64;
        let query = TraceQuery {
            flow_id: args.flow_id.clone().map(FlowId),
            execution_id: None,
            time_range,
            status: args.status.map(|status| status.wanted()),
            actor_filter: args.actor.clone(),
            limit: Some(PAGE.min(args.limit - have) as usize),
            // Where a server knows no pages, it knows offsets.
            offset: (after.is_none() && have > 0).then_some(have as usize),
        };
        let page = client.find_traces(query, after.as_deref()).await.context("the server did not answer the query")?;
        let empty = page.traces.is_empty();
        found.total = page.total.max(have + page.traces.len() as u64);
        found.traces.extend(page.traces);
        after = page.next;
        let have = found.traces.len() as u64;
        if empty || have >= args.limit || have >= found.total {
            found.traces.truncate(args.limit as usize);
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
