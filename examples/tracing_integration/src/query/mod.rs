//! `query_client`: history with filters, what it tells about performance and dependencies, and exports.

pub mod analysis;
mod args;
pub mod export;
pub mod fetch;
pub mod graph;
pub mod report;
#[cfg(test)]
mod samples;
pub mod tally;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use reflow_tracing_protocol::client::TracingClient;

pub use self::args::Args;
use self::{
    analysis::Analysis,
    export::Export,
    fetch::{Found, Left},
    graph::Graph,
    graph::GraphFormat,
};
use crate::shared::connect::connect;
use crate::shared::show::{count, plain};
use crate::shared::terminal::{GOOD, WARN, stderr, stdout};

/// Runs the program.
///
/// # Errors
/// [`Usage`](crate::shared::exit::Usage), [`Unreachable`](crate::shared::exit::Unreachable), and whatever fails on the way.
pub async fn run(args: Args) -> Result<()> {
    args.check()?;
    let client = connect(&args.server_url).await?;
    let found = fetch::find(&client, &args.wanted()).await?;
    let mut people: Box<dyn Write> = if args.for_tools() { Box::new(stderr()) } else { Box::new(stdout()) };
    if !args.whole() {
        report::list(&mut people, &found.traces)?;
        writeln!(people)?;
    }
    report::missing(&mut people, &found.traces)?;
    let mut left = Left::default();
    if args.whole() {
        left = look_at_events(&client, &args, &found, &mut people).await?;
        if left.gone > 0 {
            writeln!(people, "{WARN}{} traces were removed by retention in the meantime{WARN:#}", left.gone)?;
        }
    }
    report::summary(&mut people, &found)?;
    people.flush()?;
    client.shutdown().await?;
    if args.expect && found.traces.is_empty() {
        bail!("no such trace is there");
    }
    match left.refused.first() {
        None => Ok(()),
        Some(first) => bail!("{} of the traces are missing above: {first}", left.refused.len()),
    }
}

/// Everything that needs the events, in one pass over the traces. Returns which traces were not given.
async fn look_at_events(client: &TracingClient, args: &Args, found: &Found, people: &mut impl Write) -> Result<Left> {
    let mut export = args.export.map(|format| Export::try_new(format, args.output.as_deref())).transpose()?;
    let mut graph = args.graph.map(|_| Graph { title: title(args, found), ..Graph::default() });
    let mut analysis = args.analyze.then(Analysis::default);
    let left = fetch::whole(client, &found.traces, |trace| {
        if let Some(graph) = &mut graph {
            graph.add(&trace);
        }
        if let Some(analysis) = &mut analysis {
            analysis.add(&trace);
        }
        export.as_mut().map_or(Ok(()), |export| export.take(&trace))
    })
    .await?;
    let file = args.output.as_deref();
    if let Some(export) = export {
        let events = export.finish()?;
        wrote(people, file, &format!("{} events", count(events)))?;
    }
    if let (Some(graph), Some(format)) = (graph, args.graph) {
        match (format, file) {
            (GraphFormat::Text, None) => writeln!(people, "{}", graph.show(format))?,
            (format, file) => export::write_text(&graph.show(format), file)?,
        }
        let (actors, edges) = (count(graph.nodes.len() as u64), count(graph.edges.len() as u64));
        wrote(people, file, &format!("{}: {actors} actors and {edges} connections", plain(&graph.title)))?;
    }
    if let Some(mut analysis) = analysis {
        analysis.finish();
        report::performance(people, &analysis)?;
    }
    Ok(left)
}

fn wrote(people: &mut impl Write, file: Option<&Path>, what: &str) -> std::io::Result<()> {
    file.map_or(Ok(()), |file| writeln!(people, "{GOOD}wrote{GOOD:#} {what}, to {}", file.display()))
}

/// What the graph is of: the flow that was asked for, or those that were found. Runs of one flow differ in their ids, not their name.
fn title(args: &Args, found: &Found) -> String {
    let names: BTreeSet<&str> = found
        .traces
        .iter()
        .filter_map(|trace| trace.flow_name.as_deref().or(trace.flow_id.as_ref().map(|flow| flow.0.as_str())))
        .collect();
    match (&args.flow_id, names.first(), names.len()) {
        (Some(flow), ..) => flow.clone(),
        (None, Some(only), 1) => (*only).to_owned(),
        (None, _, several) => format!("{several} flows"),
    }
}
