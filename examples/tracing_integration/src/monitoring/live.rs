//! Live events until somebody has had enough, and then what came in numbers.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use reflow_tracing_protocol::client::{EventStream, LiveEvent, TracingClient};

use super::args::Args;
use super::line::line;
use crate::shared::connect::shown;
use crate::shared::protocol::Protocol;
use crate::shared::show::{count, span};
use crate::shared::stop;
use crate::shared::terminal::{DIM, HEAD, WARN, stderr, stdout};

/// What came.
#[derive(Debug, Default)]
struct Seen {
    events: u64,
    /// By type.
    types: BTreeMap<&'static str, u64>,
    /// Missed and counted.
    missed: u64,
    /// Gaps of which nobody knows how much was in them.
    gaps: u64,
}

/// Shows events until `--limit`, ctrl-C or the end of the server's patience.
///
/// # Errors
/// When the server refuses the subscription, or nobody reads any more.
pub async fn watch(client: &TracingClient, args: &Args) -> Result<()> {
    let protocol = Protocol::of(client);
    let mut events = client.events(args.filters(protocol)).await.context("the server refused the subscription")?;
    // On standard error, so that `| grep` sees events alone.
    if args.flow_ids.is_some() {
        protocol.caveat(&mut stderr(), "it may show events of other flows, too")?;
    }
    writeln!(stderr(), "{DIM}watching {}; ctrl-C ends it{DIM:#}", shown(&args.server_url))?;
    let (started, mut seen) = (Instant::now(), Seen::default());
    tokio::select! {
        outcome = show(&mut events, args, &mut seen) => outcome?,
        stopped = stop::wanted() => stopped?,
    }
    summary(&mut stderr(), &seen, started, protocol)?;
    Ok(())
}

async fn show(events: &mut EventStream, args: &Args, seen: &mut Seen) -> io::Result<()> {
    let mut out = stdout();
    while args.limit.is_none_or(|limit| seen.events < limit) {
        match events.recv().await {
            Some(LiveEvent::Event { event, .. }) if !args.wants(&event) => {}
            Some(LiveEvent::Event { trace_id, event }) => {
                seen.events += 1;
                *seen.types.entry(event.event_type.name()).or_default() += 1;
                writeln!(out, "{}", line(&trace_id, &event))?;
            }
            Some(LiveEvent::Lagged { missed: Some(missed) }) => {
                seen.missed += missed;
                writeln!(out, "{WARN}missed {} events: this reader was too slow{WARN:#}", count(missed))?;
            }
            Some(LiveEvent::Lagged { missed: None }) => {
                seen.gaps += 1;
                writeln!(
                    out,
                    "{WARN}missed events, nobody knows how many: the connection was lost for a while{WARN:#}"
                )?;
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

fn summary(out: &mut impl Write, seen: &Seen, started: Instant, protocol: Protocol) -> io::Result<()> {
    let elapsed = started.elapsed();
    let rate = seen.events as f64 / elapsed.as_secs_f64().max(1e-9);
    writeln!(out, "\n{HEAD}{} events{HEAD:#} in {} ({rate:.1} a second)", count(seen.events), span(elapsed))?;
    for (event_type, number) in &seen.types {
        writeln!(out, "  {event_type:<16} {}", count(*number))?;
    }
    match (seen.missed, seen.gaps) {
        (0, 0) if protocol == Protocol::V1 => protocol.caveat(out, "it tells nobody what they missed"),
        (0, 0) => writeln!(out, "{DIM}none missed{DIM:#}"),
        (missed, 0) => writeln!(out, "{WARN}{} missed{WARN:#}", count(missed)),
        (missed, gaps) => {
            writeln!(out, "{WARN}{} missed, and {} gaps of unknown size{WARN:#}", count(missed), count(gaps))
        }
    }
}
