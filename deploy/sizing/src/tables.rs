//! What deploy/README.md says in figures: each text stands there between two marks, and a test compares them.

use std::fmt::Write;

use crate::figures::Figures;
use crate::limits::{BUSY, FULL};
use crate::model::{Machines, ONE_PROCESS, ONE_PROCESS_PROGRAMS, Plan};
use crate::report::{CLUSTER, LAPTOP, ROWS, machines, usual};
use crate::units::{Bytes, Count};

const MEBIBYTE: f64 = (1 << 20) as f64;

/// A text of the page, by the name of its marks.
pub type Text = (&'static str, fn(&Figures) -> String);
/// All of them.
pub const TEXTS: [Text; 4] = [("facts", facts), ("costs", costs), ("machines", assumptions), ("sizes", sizes)];

/// What was measured, in sentences.
fn facts(figures: &Figures) -> String {
    let Figures { machine, event_bytes, compressed_bytes, stored_bytes_postgres, stored_bytes_sqlite, .. } = figures;
    let idle = figures.memory.connection / 1024.0;
    format!(
        "- Measured on {machine}, with events of {event_bytes:.0} bytes: {compressed_bytes:.0} of them travel over the bus, and \
         {stored_bytes_postgres:.0} lie in Postgres\n  or {stored_bytes_sqlite:.0} in SQLite, tables and indexes.\n\
         - All parts together, the client included: {} events for each CPU-second in batches of 200, {} with one event a frame.\n\
         - An idle connection takes up to {idle:.1} KiB of a collector.\n",
        Count(figures.together_batched),
        Count(figures.together_single),
    )
}

/// What one core does, each part by itself, and the most memory that its process had at full rate.
fn costs(figures: &Figures) -> String {
    let mut out =
        "| part | events/s a core, batches of 200 | events/s a core, one event a frame | memory at full rate |\n\
                   |---|---|---|---|\n"
            .to_owned();
    let memory = &figures.memory;
    for (part, batched, single, memory) in [
        ("program with our client", figures.batched.client, figures.single.client, None),
        ("collector", figures.batched.collector, figures.single.collector, Some(memory.collector)),
        ("NATS, one copy", figures.batched.nats, figures.single.nats, Some(memory.nats)),
        ("writer", figures.batched.writer, figures.single.writer, Some(memory.writer)),
        ("Postgres", figures.batched.postgres, figures.single.postgres, None),
        (
            "`reflow-tracing` with SQLite",
            figures.batched.standalone,
            figures.single.standalone,
            Some(memory.standalone),
        ),
    ] {
        let memory = memory.map_or_else(|| "as you set it".to_owned(), |bytes| format!("{:.0} MiB", bytes / MEBIBYTE));
        let _ = writeln!(out, "| {part} | {} | {} | {memory} |", Count(1.0 / batched), Count(1.0 / single));
    }
    // From its parts: what one more copy of an event costs, which came in a batch.
    let _ = writeln!(
        out,
        "| query service, to live viewers | {} | not measured | not measured |",
        Count(1.0 / figures.viewing)
    );
    out
}

/// What the rows of the table run on.
fn assumptions(_: &Figures) -> String {
    let disk = |machines: &Machines| {
        format!(
            "a disk of {} that writes {} a second",
            Bytes(machines.disk_bytes),
            Bytes(machines.disk_bytes_per_second)
        )
    };
    format!(
        "Up to {} events/s and {} programs: a machine of {} cores with {}. Above: pods of {} cores, {} NATS servers, and a Postgres of {} cores with\n\
         {}. No part is busier than {:.0} %, no disk fuller than {:.0} %. What more pods cannot help is divided among\n\
         several systems: some programs' collectors, writers and query services on a NATS and a Postgres of their own.\n",
        Count(ONE_PROCESS),
        Count(ONE_PROCESS_PROGRAMS),
        LAPTOP.pod_cores,
        disk(&LAPTOP),
        CLUSTER.pod_cores,
        CLUSTER.replicas,
        CLUSTER.postgres_cores,
        disk(&CLUSTER),
        BUSY * 100.0,
        FULL * 100.0,
    )
}

/// A table from one laptop to a million events a second.
fn sizes(figures: &Figures) -> String {
    let mut out =
        "| events/s | run | NATS: busy cores of each, `stream_max_bytes` | Postgres: busy cores, `max_wal_size`, \
                   `max_connections` | a day | 7 days | its disk | breaks first |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for rate in ROWS {
        let machines = machines(rate);
        let plan = Plan::of(figures, &usual(figures, rate), &machines);
        let each = if plan.systems > 1 { format!("{} systems, each ", plan.systems) } else { String::new() };
        let (run, nats, postgres) = if plan.one_process {
            let cores = match plan.standalone_cores {
                cores if cores < 0.01 => "under 0.01".to_owned(),
                cores => format!("{cores:.2}"),
            };
            (format!("`reflow-tracing`, {cores} of a core, SQLite"), "none".to_owned(), "none".to_owned())
        } else {
            let run =
                format!("{} collectors, {} writers, {} query services", plan.collectors, plan.writers, plan.queries);
            let nats = format!("{} × {:.2}, {}", plan.nats_servers, plan.nats_cores, Bytes(plan.stream_max_bytes));
            let wal = Bytes(plan.max_wal_bytes);
            (run, nats, format!("{:.2}, {wal}, {}", plan.postgres_cores, plan.postgres_connections))
        };
        let all = plan.systems as f64;
        let (day, stored) = (Bytes(all * plan.bytes_per_day), Bytes(all * plan.stored_bytes));
        let full =
            format!("{:.0} % of {}", 100.0 * plan.stored_bytes / machines.disk_bytes, Bytes(machines.disk_bytes));
        let first = plan.breaks_first().map(|limit| format!("{}, at {}/s", limit.what, Count(limit.breaks_at)));
        // Infallible: a String takes all that is written to it.
        let _ = writeln!(
            out,
            "| {} | {each}{run} | {nats} | {postgres} | {day} | {stored} | {full} | {} |",
            Count(rate),
            first.unwrap_or_default()
        );
    }
    out
}
