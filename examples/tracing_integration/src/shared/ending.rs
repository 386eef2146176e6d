//! How a program that records comes to its end: it tells where to look, and fails if not everything has arrived.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Result, ensure};
use reflow_tracing_protocol::TraceId;
use reflow_tracing_protocol::client::{ClientMetrics, TracingClient};

use crate::shared::connect::{page, shown};
use crate::shared::names::DEFAULT_SERVER;
use crate::shared::protocol::Protocol;
use crate::shared::show::{count, shell_word};
use crate::shared::terminal::{DIM, HEAD, NAME};

/// Tells the trace, and where it can be seen: on the page of the server that has it, and by `query_client` with these arguments, to be pasted
/// as they are.
///
/// # Errors
/// When nobody reads any more.
pub fn where_to_look(
    out: &mut impl Write,
    trace_id: &TraceId,
    protocol: Protocol,
    client: &TracingClient,
    query: &[&str],
) -> io::Result<()> {
    writeln!(out, "{HEAD}trace{HEAD:#} {NAME}{trace_id}{NAME:#}")?;
    if protocol == Protocol::V2 {
        let server = client.server_url().unwrap_or_else(|| shown(&client.config().server_url));
        let server = server.trim_end_matches('/');
        let elsewhere: &[&str] = if server == DEFAULT_SERVER { &[] } else { &["--server-url", server] };
        let query: Vec<_> = query.iter().chain(elsewhere).map(|word| shell_word(word)).collect();
        writeln!(out, "{HEAD}look{HEAD:#}  {}", page(server))?;
        writeln!(out, "      {DIM}query_client {}{DIM:#}", query.join(" "))?;
    }
    protocol.caveat(out, "it has no page and may keep nothing of this; monitoring_client shows it while it happens")
}

/// Whether the server has acked everything that these recorded.
///
/// # Errors
/// When it has not, with its reason.
pub fn all_acked(clients: &[Arc<TracingClient>]) -> Result<()> {
    let sum = |figure: fn(&ClientMetrics) -> u64| clients.iter().map(|client| figure(&client.metrics())).sum::<u64>();
    let (acked, recorded) = (sum(|figures| figures.events_acked), sum(|figures| figures.events_recorded));
    let reason = clients.iter().find_map(|client| client.last_error());
    let reason = reason.unwrap_or_else(|| "it gave no reason".to_owned());
    ensure!(acked >= recorded, "the server took {} of {} events: {reason}", count(acked), count(recorded));
    Ok(())
}
