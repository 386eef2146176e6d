//! What `query_client` prints for people: the list of traces, and the performance of actors.

use std::io::{self, Write};

use chrono::Utc;
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_protocol::client::{TraceCounts, TraceSummary};

use super::analysis::{ActorPerformance, Analysis};
use super::fetch::Found;
use crate::shared::show::{self, UNKNOWN, count, cut, maybe, nanos, several};
use crate::shared::terminal::{BAD, DIM, HEAD, WARN, table, write_table};

/// A line a trace.
///
/// # Errors
/// When nobody reads any more.
pub fn list(out: &mut impl Write, traces: &[TraceSummary]) -> io::Result<()> {
    let mut table = table(&["started", "flow", "trace", "status", "took", "events", "failures"], 4);
    for trace in traces {
        // The name that runs are grouped by; a network calls each of its runs something else.
        let flow = trace.flow_name.as_deref().or(trace.flow_id.as_ref().map(|flow| flow.0.as_str()));
        let took = trace.end_time.unwrap_or_else(Utc::now) - trace.start_time;
        let took = match trace.end_time {
            Some(_) => maybe(took.to_std().ok(), show::span),
            None => UNKNOWN.to_owned(),
        };
        let counted = trace.counted.as_ref();
        table.add_row([
            show::date(trace.start_time),
            maybe(flow, |flow| cut(flow, 40)),
            trace.trace_id.0.to_string(),
            show::status(&trace.status),
            took,
            maybe(counted, events),
            maybe(counted, |counted| count(counted.failures)),
        ]);
    }
    write_table(out, &table)
}

/// Events counted; where sampling left some out, about how many happened as well.
fn events(counted: &TraceCounts) -> String {
    let counted_events = count(counted.event_count);
    match counted.estimated_events {
        Some(estimate) if estimate > counted.event_count => format!("{counted_events} of about {}", count(estimate)),
        _ => counted_events,
    }
}

/// Where events of a trace are missing, how many, and why.
///
/// # Errors
/// When nobody reads any more.
pub fn missing(out: &mut impl Write, traces: &[TraceSummary]) -> io::Result<()> {
    for trace in traces {
        let Some(counted) = &trace.counted else { continue };
        for client in counted.clients.iter().filter(|client| client.missing > 0) {
            writeln!(
                out,
                "{WARN}{}: {} of {} events present; {} dropped by the client, {} refused, {} not arrived{WARN:#}",
                trace.trace_id.0,
                count(client.present),
                count(client.recorded),
                count(client.dropped),
                count(client.rejected),
                count(client.not_arrived),
            )?;
        }
    }
    Ok(())
}

/// How many traces were found, and how they ended.
///
/// # Errors
/// When nobody reads any more.
pub fn summary(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let traces = &found.traces;
    let of = |wanted: fn(&ExecutionStatus) -> bool| traces.iter().filter(|trace| wanted(&trace.status)).count() as u64;
    let completed = of(|status| matches!(status, ExecutionStatus::Completed));
    let failed = of(|status| matches!(status, ExecutionStatus::Failed { .. }));
    let running = of(|status| matches!(status, ExecutionStatus::Running | ExecutionStatus::Pending));
    let cancelled = of(|status| matches!(status, ExecutionStatus::Cancelled));
    writeln!(
        out,
        "{HEAD}{} of {} traces{HEAD:#}: {} completed, {} failed, {} running, {} cancelled",
        count(traces.len() as u64),
        found.total.map_or_else(|| "perhaps more".to_owned(), count),
        count(completed),
        count(failed),
        count(running),
        count(cancelled),
    )?;
    match found.total {
        Some(total) if (traces.len() as u64) < total => {
            writeln!(out, "{DIM}--limit {total} shows all of them{DIM:#}")?;
        }
        _ => {}
    }
    found
        .protocol
        .caveat(out, "it lists traces that were sent whole, and may keep nothing of what comes event by event")
}

/// A line an actor, the busiest first.
///
/// # Errors
/// When nobody reads any more.
pub fn performance(out: &mut impl Write, analysis: &Analysis) -> io::Result<()> {
    let heads = [
        "actor",
        "runs",
        "failed",
        "in",
        "out",
        "bytes out",
        "p50",
        "p95",
        "p99",
        "busy",
        "runs/s",
        "memory",
        "cpu",
        "queue",
    ];
    let mut table = table(&heads, 1);
    for (name, actor) in analysis.busiest_first() {
        table.add_row(line(name, actor));
    }
    write_table(out, &table)?;
    writeln!(out)?;
    let errors =
        analysis.actors.iter().filter_map(|(name, actor)| Some((name, actor.failed, actor.first_error.as_ref()?)));
    for (name, failed, error) in errors {
        writeln!(out, "{BAD}{}{BAD:#} failed {}, first: {}", cut(name, 40), failed.several("time"), cut(error, 120))?;
    }
    if let Some((name, share)) = analysis.bottleneck() {
        writeln!(out, "{} took {share:.0} % of all measured time", cut(name, 40))?;
    } else {
        writeln!(out, "{DIM}{UNKNOWN}: the programs measured no times; memory and queues likewise{DIM:#}")?;
    }
    let middle = analysis.trace_ns.get(analysis.trace_ns.len() / 2).copied();
    writeln!(
        out,
        "{HEAD}{}, {} in {}{HEAD:#}; a trace took {} (median), {} at most",
        several(analysis.actors.len() as u64, "actor"),
        analysis.events.several("event"),
        several(analysis.traces, "trace"),
        maybe(middle, nanos),
        maybe(analysis.trace_ns.last().copied(), nanos),
    )?;
    if analysis.events.is_whole() {
        return Ok(());
    }
    writeln!(
        out,
        "{DIM}sampling left events out: `of about` estimates all that happened; p50 to p99 and runs/s are of all{DIM:#}"
    )
}

fn line(name: &str, actor: &ActorPerformance) -> Vec<String> {
    let quantile = |quantile| maybe(actor.quantile_ns(quantile), nanos);
    vec![
        cut(name, 40),
        actor.runs().show(count),
        actor.failed.show(count),
        actor.messages_in.show(count),
        actor.messages_out.show(count),
        maybe(actor.bytes_out, |bytes| bytes.show(show::bytes)),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
        maybe(actor.busy_ns(), |busy| busy.show(nanos)),
        maybe(actor.runs_per_second(), |rate| format!("{rate:.1}")),
        maybe(actor.memory_peak_bytes, show::bytes),
        maybe(actor.cpu_peak_percent, |percent| format!("{percent:.0} %")),
        maybe(actor.queue_peak, count),
    ]
}
