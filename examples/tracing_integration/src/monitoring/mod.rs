//! `monitoring_client`: what programs do at this moment, what they did lately, and how the server is.

mod args;
mod figures;
mod line;
mod live;

use anyhow::Result;
use reflow_tracing_protocol::client::TracingClient;

pub use self::args::Args;
use crate::query::fetch::{Wanted, find};
use crate::query::report;
use crate::shared::connect::connect;
use crate::shared::exit::Usage;
use crate::shared::terminal::stdout;

/// Traces shown unless told otherwise.
const TRACES: u64 = 10;

/// Runs the program.
///
/// # Errors
/// [`Usage`], [`Unreachable`](crate::shared::exit::Unreachable), and whatever fails on the way.
pub async fn run(args: Args) -> Result<()> {
    check(&args)?;
    let client = connect(&args.server_url).await?;
    if args.metrics {
        figures::show(&client).await?;
    }
    if args.query {
        history(&client, &args).await?;
    }
    if !args.metrics && !args.query {
        live::watch(&client, &args).await?;
    }
    client.shutdown().await?;
    Ok(())
}

/// History knows one flow and one actor a question, and no event types.
fn check(args: &Args) -> Result<(), Usage> {
    let many = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.len() > 1);
    let problem = match args.query {
        true if many(&args.flow_ids) || many(&args.actor_ids) => "--query takes one flow and one actor at most",
        true if args.event_types.is_some() => "--event-types is for live events; --query lists whole traces",
        _ => return Ok(()),
    };
    Err(Usage(problem.to_owned()))
}

async fn history(client: &TracingClient, args: &Args) -> Result<()> {
    let one = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    let wanted = Wanted {
        flow_id: one(&args.flow_ids),
        actor: one(&args.actor_ids),
        limit: args.limit.unwrap_or(TRACES),
        ..Wanted::default()
    };
    let found = find(client, &wanted).await?;
    let mut out = stdout();
    report::list(&mut out, &found.traces)?;
    report::missing(&mut out, &found.traces)?;
    report::summary(&mut out, &found)?;
    Ok(())
}
