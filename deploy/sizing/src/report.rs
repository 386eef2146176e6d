//! A plan in words, and the table of deploy/README.md.

use std::fmt::{self, Write};

use crate::figures::{Figures, MEASURED_BATCH};
use crate::model::{BUSY, Load, Machines, Plan};

/// What the table is for: pods of two cores, a Postgres of 16 cores with a disk of 16 TB that writes a GB a second.
pub const MACHINES: Machines =
    Machines { pod_cores: 2.0, postgres_cores: 16.0, disk_bytes_per_second: 1e9, disk_bytes: 16e12, replicas: 3.0 };

/// The rows of the table, in events a second.
const ROWS: [f64; 7] = [1e3, 1e4, 5e4, 1e5, 2e5, 5e5, 1e6];

/// The load of the table: events and batches as measured, kept for 7 days, ten viewers who see a hundredth each.
#[must_use]
pub fn usual(events_per_second: f64) -> Load {
    Load {
        events_per_second,
        event_bytes: 622.0,
        batch: MEASURED_BATCH,
        retention_days: 7.0,
        viewers: 10.0,
        viewer_share: 0.01,
        programs: 100.0,
        outage_minutes: 10.0,
    }
}

/// The table of deploy/README.md.
#[must_use]
pub fn table(figures: &Figures) -> String {
    let mut out = "| events/s | run | NATS: busy cores of each, `stream_max_bytes` | Postgres: busy cores, `max_wal_size`, `max_connections` | a day | 7 days | breaks first |\n|---|---|---|---|---|---|---|\n".to_owned();
    for rate in ROWS {
        let plan = Plan::of(figures, &usual(rate), &MACHINES);
        let (run, nats, postgres) = if plan.one_process {
            let cores = match plan.standalone_cores {
                cores if cores < 0.01 => "under 0.01".to_owned(),
                cores => format!("{cores:.2}"),
            };
            let run = format!("`reflow-tracing`, {cores} of a core, SQLite");
            (run, "none".to_owned(), "none".to_owned())
        } else {
            let run =
                format!("{} collectors, {} writers, {} query services", plan.collectors, plan.writers, plan.queries);
            let nats = format!("{} × {:.2}, {}", plan.nats_servers, plan.nats_cores, Bytes(plan.stream_max_bytes));
            let wal = Bytes(plan.max_wal_bytes);
            (run, nats, format!("{:.2}, {wal}, {}", plan.postgres_cores, plan.postgres_connections))
        };
        let first = plan.breaks_first().map(|limit| format!("{}, at {}/s", limit.what, Count(limit.breaks_at)));
        let (day, stored) = (Bytes(plan.bytes_per_day), Bytes(plan.stored_bytes));
        // Infallible: a String takes all that is written to it.
        let _ = writeln!(
            out,
            "| {} | {run} | {nats} | {postgres} | {day} | {stored} | {} |",
            Count(rate),
            first.unwrap_or_default()
        );
    }
    out
}

/// What one core does, each part by itself: the table above the other in deploy/README.md.
#[must_use]
pub fn costs(figures: &Figures) -> String {
    let mut out =
        "| part | events/s a core, batches of 200 | events/s a core, one event a frame |\n|---|---|---|\n".to_owned();
    for (part, batched, single) in [
        ("program with our client", figures.batched.client, figures.single.client),
        ("collector", figures.batched.collector, figures.single.collector),
        ("NATS, one copy", figures.batched.nats, figures.single.nats),
        ("writer", figures.batched.writer, figures.single.writer),
        ("Postgres", figures.batched.postgres, figures.single.postgres),
        ("`reflow-tracing` with SQLite", figures.batched.standalone, figures.single.standalone),
    ] {
        let _ = writeln!(out, "| {part} | {} | {} |", Count(1.0 / batched), Count(1.0 / single));
    }
    out
}

/// A plan in words.
pub struct InWords<'a> {
    /// The figures that it was made with.
    pub figures: &'a Figures,
    /// The load.
    pub load: &'a Load,
    /// The plan.
    pub plan: &'a Plan,
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figures, load, plan } = self;
        writeln!(
            out,
            "{} events/s of {} bytes, {} a batch; measured on: {}",
            Count(load.events_per_second),
            load.event_bytes,
            load.batch,
            figures.machine
        )?;
        writeln!(out, "every part at most {:.0} % busy\n", BUSY * 100.0)?;
        if plan.one_process {
            writeln!(out, "  reflow-tracing     1, with SQLite; {:.2} cores busy", plan.standalone_cores)?;
        } else {
            writeln!(out, "  collectors         {}", plan.collectors)?;
            writeln!(out, "  writers            {}", plan.writers)?;
            writeln!(out, "  query services     {}", plan.queries)?;
            writeln!(out, "  NATS servers       {}, {:.2} cores busy on each", plan.nats_servers, plan.nats_cores)?;
            let gib = plan.stream_max_bytes;
            writeln!(
                out,
                "    bus.nats.stream_max_bytes = {gib:.0} ({}: {} minutes without a store)",
                Bytes(gib),
                load.outage_minutes
            )?;
            writeln!(out, "  Postgres           1, {:.2} cores busy", plan.postgres_cores)?;
            writeln!(out, "    max_wal_size = {:.0}GB", plan.max_wal_bytes / f64::from(1 << 30))?;
            writeln!(out, "    max_connections = {}", plan.postgres_connections)?;
        }
        writeln!(
            out,
            "  stored             {} a day, {} in {} days\n",
            Bytes(plan.bytes_per_day),
            Bytes(plan.stored_bytes),
            load.retention_days
        )?;
        writeln!(out, "what is used up, the most first:")?;
        for limit in &plan.limits {
            let at = if limit.breaks_at.is_finite() {
                format!(", all of it at {} events/s", Count(limit.breaks_at))
            } else {
                String::new()
            };
            writeln!(out, "  {:>6.1} % of {}{at}", limit.used * 100.0, limit.what)?;
        }
        if let Some(first) = plan.breaks_first() {
            let when = if first.used > 1.0 { "breaks at this load" } else { "breaks first" };
            write!(out, "\n{}: {when}; then: {}", first.what, first.then)?;
        }
        Ok(())
    }
}

/// Bytes in the largest unit of 1,000 that leaves a digit before the point.
struct Bytes(f64);
/// A count in the same way.
struct Count(f64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}B", scaled(self.0, [" ", " k", " M", " G", " T", " P"]))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", scaled(self.0, ["", "k", "M", "G", "T", "P"]))
    }
}

fn scaled(value: f64, units: [&str; 6]) -> String {
    let mut value = value;
    for unit in units {
        if value < 999.5 || unit == units[5] {
            let digits = [2, 1, 0][usize::from(value >= 9.995) + usize::from(value >= 99.95)];
            let text = format!("{value:.digits$}");
            let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            return format!("{text}{unit}");
        }
        value /= 1e3;
    }
    unreachable!("the last unit takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_their_unit() {
        assert_eq!(Bytes(8.26e12).to_string(), "8.26 TB");
        assert_eq!(Bytes(512.0).to_string(), "512 B");
        assert_eq!(Count(1e6).to_string(), "1M");
        assert_eq!(Count(20_000.0).to_string(), "20k");
        assert_eq!(Count(999_900.0).to_string(), "1M");
    }
}
