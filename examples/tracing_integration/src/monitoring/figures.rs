//! What the server says of itself, and how quickly it answers.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use reflow_tracing_protocol::client::{TracingClient, TracingError};
use serde_json::Value;

use crate::shared::protocol::Protocol;
use crate::shared::show::{self, count, plain};
use crate::shared::terminal::{DIM, HEAD, WARN, stdout, table, write_table};

const PINGS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints both.
///
/// # Errors
/// When the server does not answer, or nobody reads any more. A server that tells no figures (the published one) is no error.
pub async fn show(client: &TracingClient) -> Result<()> {
    let mut out = stdout();
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        times.push(client.ping_within(PATIENCE).await.context("the server did not answer a ping")?);
    }
    times.sort_unstable();
    let protocol = Protocol::of(client).name();
    writeln!(
        out,
        "{HEAD}ping{HEAD:#} {} ({} to {}), protocol {protocol}",
        show::span(times[PINGS / 2]),
        show::span(times[0]),
        show::span(times[PINGS - 1]),
    )?;
    match client.server_metrics().await {
        Ok(Value::Object(figures)) => {
            let mut table = table(&["figure", "value"], 1);
            for (name, value) in &figures {
                table.add_row([plain(name).into_owned(), figure(name, value)]);
            }
            writeln!(out)?;
            write_table(&mut out, &table)?;
            writeln!(out, "\n{HEAD}{} figures{HEAD:#}", count(figures.len() as u64))?;
        }
        Ok(other) => writeln!(out, "{DIM}the server's figures: {}{DIM:#}", plain(&other.to_string()))?,
        Err(TracingError::WebSocketError(reason)) => {
            writeln!(out, "{WARN}the server tells no figures: {}{WARN:#}", plain(&reason))?;
        }
        Err(error) => return Err(error).context("the server did not tell its figures"),
    }
    Ok(())
}

/// A figure in the unit that its name tells.
fn figure(name: &str, value: &Value) -> String {
    let unit = name.split('{').next().unwrap_or_default().trim_end_matches("_total");
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            match () {
                () if unit.ends_with("_bytes") && number >= 0.0 => show::bytes(number as u64),
                () if unit.ends_with("_seconds") && (0.0..1e9).contains(&number) => {
                    show::span(Duration::from_secs_f64(number))
                }
                () if number.fract() == 0.0 && (0.0..1e15).contains(&number) => count(number as u64),
                () => format!("{number:.3}"),
            }
        }
        Value::Object(histogram) => {
            let part = |name| histogram.get(name).and_then(Value::as_f64);
            match (part("count"), part("sum")) {
                (Some(times), Some(sum)) if times > 0.0 => {
                    format!("{} × {}", count(times as u64), figure(name, &Value::from(sum / times)))
                }
                _ => show::UNKNOWN.to_owned(),
            }
        }
        other => plain(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_have_the_unit_of_their_name() {
        for (name, value, shown) in [
            ("reflow_session_events_total{result=ok}", json!(1234.0), "1,234"),
            ("process_resident_memory_bytes", json!(2048.0), "2.00 KiB"),
            ("process_cpu_seconds_total", json!(1.5), "1.50 s"),
            ("reflow_writer_commit_seconds", json!({"count": 2, "sum": 0.004}), "2 × 2.00 ms"),
            ("reflow_writer_commit_seconds", json!({"count": 0, "sum": 0.0}), "–"),
            ("reflow_session_gather_frames", json!({"count": 2, "sum": 3.0}), "2 × 1.500"),
        ] {
            assert_eq!(figure(name, &value), shown);
        }
    }
}
