//! What came of a load, as text and as JSON. What was not measured is `–` and `null`.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use reflow_tracing_protocol::client::ClientMetrics;
use serde::Serialize;

use crate::shared::process::Used;
use crate::shared::show::{bytes, count, maybe, nanos, span};
use crate::shared::terminal::{BAD, GOOD, HEAD, table, write_table};

/// Everything that is told. Field names have their unit.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The server.
    pub server_url: String,
    /// `v2`, or `v1` from at least one connection.
    pub protocol: &'static str,
    /// As asked for.
    pub connections: u64,
    /// As asked for.
    pub actors: u64,
    /// As asked for.
    pub batch_size: u64,
    /// As asked for; v1 servers get no compression.
    pub compression: String,
    /// Ctrl-C came first.
    pub interrupted: bool,
    /// Messages passed.
    pub messages: u64,
    /// From the first event until the last ack.
    pub elapsed_seconds: f64,
    /// Events recorded.
    pub events: u64,
    /// Of these, acked.
    pub events_acked: u64,
    /// Of these, found in the history afterwards; v1 servers do not count.
    pub events_stored: Option<u64>,
    /// Acked events a second.
    pub events_per_second: f64,
    /// From recording an event until it is acked, on a connection beside the loaded ones.
    pub ack_latency: Option<Latency>,
    /// From sending a batch until it is acked: bounds from above.
    pub batch_latency_at_most: Option<Latency>,
    /// Batches acked.
    pub batches: u64,
    /// Bytes of events as JSON.
    pub bytes_before_compression: u64,
    /// Bytes of the same on the wire.
    pub bytes_after_compression: u64,
    /// The one divided by the other.
    pub compression_ratio: Option<f64>,
    /// Batches sent again.
    pub retries: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// Errors that the server answered.
    pub server_errors: u64,
    /// Events that the server refused.
    pub events_rejected: u64,
    /// Events that the client dropped.
    pub events_dropped: u64,
    /// What this program used.
    pub client: Option<Process>,
    /// What the server used.
    pub server: Option<Process>,
}

/// Times, µs.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Half of them took at most this.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// Ninety-nine in a hundred.
    pub p99_us: u64,
    /// Measurements.
    pub samples: u64,
}

/// A process during the load.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Processor time, seconds.
    pub cpu_seconds: f64,
    /// The same in percent of one core.
    pub cpu_percent: f64,
    /// Most resident memory, bytes.
    pub peak_memory_bytes: u64,
}

impl Latency {
    /// From a histogram in µs, unless it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            samples: histogram.len(),
        })
    }

    /// The greatest bounds of some clients.
    pub fn bounds(clients: &[ClientMetrics]) -> Option<Self> {
        let greatest = |figure: fn(&ClientMetrics) -> Option<u64>| clients.iter().filter_map(figure).max();
        Some(Self {
            p50_us: greatest(|client| client.ack_latency_p50_us)?,
            p90_us: greatest(|client| client.ack_latency_p90_us)?,
            p99_us: greatest(|client| client.ack_latency_p99_us)?,
            samples: clients.iter().map(|client| client.ack_latency_count).sum(),
        })
    }
}

impl Process {
    /// What was used between two looks.
    pub fn between(before: Option<Used>, after: Option<Used>, elapsed: Duration) -> Option<Self> {
        let (before, after) = (before?, after?);
        let cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
        let cpu_percent = cpu_seconds * 100.0 / elapsed.as_secs_f64().max(1e-9);
        Some(Self { cpu_seconds, cpu_percent, peak_memory_bytes: after.peak_memory_bytes })
    }
}

impl Report {
    /// Whether every event that was recorded is where it belongs.
    pub fn complete(&self) -> bool {
        self.events_acked == self.events && self.events_stored.is_none_or(|stored| stored >= self.events_acked)
    }

    /// For people.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let latency = |latency: &Latency| {
            let [p50, p90, p99] = [latency.p50_us, latency.p90_us, latency.p99_us].map(|us| nanos(us * 1_000));
            format!("p50 {p50}, p90 {p90}, p99 {p99} ({} samples)", count(latency.samples))
        };
        let process = |used: &Process| {
            let memory = bytes(used.peak_memory_bytes);
            format!("{:.0} % of a core, {:.2} s; at most {memory}", used.cpu_percent, used.cpu_seconds)
        };
        let compressed = |ratio| {
            let [before, after] = [self.bytes_before_compression, self.bytes_after_compression].map(bytes);
            format!("{ratio:.1} : 1 ({before} → {after}, {})", self.compression)
        };
        let mut table = table(&["figure", "value"], 2);
        let elapsed = Duration::try_from_secs_f64(self.elapsed_seconds).unwrap_or_default();
        let stored = maybe(self.events_stored, count);
        for (name, value) in [
            ("load", format!("{} messages, {} actors", count(self.messages), count(self.actors))),
            ("through", format!("{} connections, {}, batches of {}", self.connections, self.protocol, self.batch_size)),
            ("took", span(elapsed)),
            ("events", format!("{} recorded, {} acked, {stored} stored", count(self.events), count(self.events_acked))),
            ("events/s", count(self.events_per_second as u64)),
            ("ack latency", maybe(self.ack_latency.as_ref(), latency)),
            ("of a batch, at most", maybe(self.batch_latency_at_most.as_ref(), latency)),
            ("compression", maybe(self.compression_ratio, compressed)),
            ("batches", format!("{}, {} sent again", count(self.batches), count(self.retries))),
            (
                "errors",
                format!(
                    "{} by the server, {} connections lost, {} events refused, {} dropped",
                    count(self.server_errors),
                    count(self.connections_lost),
                    count(self.events_rejected),
                    count(self.events_dropped),
                ),
            ),
            ("this program", maybe(self.client.as_ref(), process)),
            ("the server", maybe(self.server.as_ref(), process)),
        ] {
            table.add_row([name.to_owned(), value]);
        }
        write_table(out, &table)?;
        match (self.complete(), self.interrupted) {
            (false, _) => writeln!(out, "\n{BAD}not every event arrived{BAD:#}"),
            (true, true) => writeln!(out, "\n{HEAD}interrupted; every event so far arrived{HEAD:#}"),
            (true, false) => writeln!(out, "\n{GOOD}every event arrived{GOOD:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_of_the_histogram_and_none_without_samples() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).unwrap();
        assert!(Latency::of(&histogram).is_none());
        (1..=100).for_each(|us| histogram.record(us).unwrap());
        let latency = Latency::of(&histogram).unwrap();
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us, latency.samples), (50, 90, 99, 100));
        assert!(Latency::bounds(&[]).is_none());
    }

    #[test]
    fn processor_time_is_that_of_the_load_alone() {
        let used = |cpu_seconds| Some(Used { cpu_seconds, memory_bytes: 5, peak_memory_bytes: 7 });
        let process = Process::between(used(1.0), used(2.5), Duration::from_secs(3)).unwrap();
        assert!((process.cpu_percent - 50.0).abs() < 1e-9 && (process.cpu_seconds - 1.5).abs() < 1e-9);
        assert!(Process::between(None, used(1.0), Duration::from_secs(1)).is_none());
    }
}
