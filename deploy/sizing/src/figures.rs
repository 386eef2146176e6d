//! The benchmark's figures, by their names.
//!
//! A name that is not there is an error and never a default: a plan from figures that were not measured would look like any
//! other. The file is what `--json` of the benchmark wrote, unchanged: README.md says how a new one is taken over.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The figures of the machine that the rates in the documentation come from.
pub const CHECKED_IN: &str = include_str!("../figures.json");

/// Every v2 event's way through the services.
const SERVICES_V2: &str = "v2 → collector → NATS → writer → Postgres, stored";
/// The same for programs that send one event a frame.
const SERVICES_V1: &str = "v1 frames → collector → NATS → writer → Postgres, stored";
const STANDALONE_V2: &str = "v2 → standalone → SQLite, acked";
const STANDALONE_V1: &str = "v1 frames → standalone → SQLite, acked";

/// Events in a batch in every figure of the benchmark.
pub const MEASURED_BATCH: f64 = 200.0;
const MEBIBYTE: f64 = (1 << 20) as f64;
const KIBIBYTE: f64 = 1024.0;

/// What the model needs.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Where they were measured.
    pub machine: String,
    /// Bytes of an event's JSON.
    pub event_bytes: f64,
    /// Bytes of it after compression, on the bus.
    pub compressed_bytes: f64,
    /// Bytes of it in the store, tables and indexes.
    pub stored_bytes_sqlite: f64,
    /// The same in Postgres.
    pub stored_bytes_postgres: f64,
    /// CPU-seconds an event, batches of [`MEASURED_BATCH`].
    pub batched: Costs,
    /// CPU-seconds an event, one event a frame.
    pub single: Costs,
    /// CPU-seconds to send an event to one viewer: decompress, index, write a frame.
    pub viewing: f64,
    /// CPU-seconds an event that one stream of NATS takes; it is written by one thread, in order.
    pub stream: f64,
    /// Events a CPU-second of all processes together, the client included, batches of [`MEASURED_BATCH`].
    pub together_batched: f64,
    /// The same, one event a frame.
    pub together_single: f64,
    /// What processes take up.
    pub memory: Memory,
}

/// Bytes of memory: of a process the most that it had on any path at full rate.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// `reflow-collector`.
    pub collector: f64,
    /// One nats-server that holds one copy.
    pub nats: f64,
    /// `reflow-writer`.
    pub writer: f64,
    /// `reflow-tracing`.
    pub standalone: f64,
    /// What each idle connection adds to a collector.
    pub connection: f64,
    /// What it adds to `reflow-tracing`.
    pub connection_standalone: f64,
}

/// CPU-seconds an event of each process.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// The program that sends.
    pub client: f64,
    /// `reflow-collector`.
    pub collector: f64,
    /// One nats-server that holds one copy.
    pub nats: f64,
    /// `reflow-writer`.
    pub writer: f64,
    /// Postgres.
    pub postgres: f64,
    /// `reflow-tracing`, SQLite included.
    pub standalone: f64,
}

#[derive(Deserialize)]
struct File {
    machine: String,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    #[serde(default)]
    note: String,
}

impl Figures {
    /// Reads a file of the benchmark.
    ///
    /// # Errors
    /// When it is not one, or lacks a figure, which the message names.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = serde_json::from_str(text).context("not a file of the benchmark's --json")?;
        let rate = |name| Ok::<_, anyhow::Error>(1.0 / file.value(name, "events/CPU-s")?);
        Ok(Self {
            event_bytes: file.value("JSON bytes an event", "bytes")?,
            compressed_bytes: file.value("bytes an event after zstd -1", "bytes")?,
            stored_bytes_sqlite: file.value("stored bytes an event, 200 a batch, SQLite", "bytes")?,
            stored_bytes_postgres: file.value("stored bytes an event, 200 a batch, Postgres", "bytes")?,
            batched: file.costs(SERVICES_V2, STANDALONE_V2)?,
            single: file.costs(SERVICES_V1, STANDALONE_V1)?,
            viewing: rate("zstd read")? + rate("parse and index")? + rate("WebSocket frame, acked, loopback")?,
            stream: rate("JetStream publish, acked")?,
            together_batched: file.value(SERVICES_V2, "events/CPU-s")?,
            together_single: file.value(SERVICES_V1, "events/CPU-s")?,
            memory: file.memory()?,
            machine: file.machine,
        })
    }

    /// The figures that come with the source.
    ///
    /// # Errors
    /// Never, as long as the tests pass.
    pub fn checked_in() -> Result<Self> {
        Self::parse(CHECKED_IN).context("deploy/sizing/figures.json")
    }
}

impl Figure {
    /// The benchmark indents those that belong to the line above.
    fn is(&self, name: &str) -> bool {
        self.name.trim() == name
    }

    fn in_unit(&self, unit: &str) -> Result<f64> {
        let Self { name, value, unit: own, .. } = self;
        if own != unit {
            bail!("figure {name:?} is in {own}, not in {unit}");
        }
        if !(value.is_finite() && *value > 0.0) {
            bail!("figure {name:?} is {value}");
        }
        Ok(*value)
    }
}

impl File {
    fn figure(&self, name: &str) -> Result<&Figure> {
        self.figures.iter().find(|figure| figure.is(name)).with_context(|| {
            format!("no figure {name:?}: run the benchmark with the sections parts, sqlite, nats, v1, storage and idle")
        })
    }

    fn value(&self, name: &str, unit: &str) -> Result<f64> {
        self.figure(name)?.in_unit(unit)
    }

    /// Of what is measured on several paths.
    fn most(&self, name: &str, unit: &str) -> Result<f64> {
        let all = self.figures.iter().filter(|figure| figure.is(name));
        all.map(|figure| figure.in_unit(unit)).try_fold(self.value(name, unit)?, |most, value| Ok(most.max(value?)))
    }

    fn memory(&self) -> Result<Memory> {
        let peak = |process| {
            Ok::<_, anyhow::Error>(self.most(&format!("memory of {process} at that rate, peak"), "MiB")? * MEBIBYTE)
        };
        let connection = |process| {
            Ok::<_, anyhow::Error>(self.value(&format!("memory of an idle connection, {process}"), "KiB")? * KIBIBYTE)
        };
        Ok(Memory {
            collector: peak("collector")?,
            nats: peak("nats")?,
            writer: peak("writer")?,
            standalone: peak("standalone")?,
            connection: connection("collector")?,
            connection_standalone: connection("standalone")?,
        })
    }

    /// A path's rate, and the share of each process, which its note tells: `client 34%, collector 19%, …`.
    fn costs(&self, services: &str, standalone: &str) -> Result<Costs> {
        let share = |path: &str, process: &str| {
            let figure = self.figure(path)?;
            let percent = figure
                .note
                .split(", ")
                .find_map(|part| part.strip_prefix(process)?.trim().strip_suffix('%')?.parse::<f64>().ok())
                .with_context(|| format!("figure {path:?} does not tell the share of {process}"))?;
            Ok::<_, anyhow::Error>(percent / 100.0 / self.value(path, "events/CPU-s")?)
        };
        Ok(Costs {
            client: share(services, "client")?,
            collector: share(services, "collector")?,
            nats: share(services, "nats")?,
            writer: share(services, "writer")?,
            postgres: share(services, "postgres")?,
            standalone: share(standalone, "standalone")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_figures_are_whole_and_name_their_machine() {
        let figures = Figures::checked_in().unwrap();
        assert!(figures.machine.contains("cores"));
        for (costs, together) in
            [(&figures.batched, figures.together_batched), (&figures.single, figures.together_single)]
        {
            let whole = costs.client + costs.collector + costs.nats + costs.writer + costs.postgres;
            // Each of five shares is rounded to a whole percent.
            assert!((1.0 / whole / together - 1.0).abs() < 0.03, "{} of {together}", 1.0 / whole);
        }
        assert!(figures.single.collector > figures.batched.collector);
        assert!(figures.memory.connection > KIBIBYTE && figures.memory.collector > MEBIBYTE);
    }

    #[test]
    fn a_missing_figure_and_a_wrong_unit_are_named() {
        let without = CHECKED_IN.replace("\"zstd read\"", "\"zstd\"");
        let error = Figures::parse(&without).unwrap_err().to_string();
        assert!(error.contains("\"zstd read\"") && error.contains("sections"), "{error}");
        let wrong = CHECKED_IN.replace("\"bytes\"", "\"MiB\"");
        assert!(Figures::parse(&wrong).unwrap_err().to_string().contains("not in bytes"));
        assert!(Figures::parse("{}").is_err());
    }

    #[test]
    fn of_memory_on_several_paths_the_most_counts() {
        let figure = |value: f64| Figure {
            name: "  memory of nats at that rate, peak".to_owned(),
            value,
            unit: "MiB".to_owned(),
            note: String::new(),
        };
        let file = File { machine: String::new(), figures: vec![figure(2.0), figure(5.0), figure(3.0)] };
        assert_eq!(file.most("memory of nats at that rate, peak", "MiB").unwrap(), 5.0);
        assert!(file.most("memory of writer at that rate, peak", "MiB").is_err());
    }
}
