//! A plan in words.

use std::fmt;

use crate::figures::{Figures, MEASURED_BATCH};
use crate::limits::{BUSY, FULL};
use crate::model::{Load, Machines, ONE_PROCESS, Plan};
use crate::units::{Bytes, Count};

/// What the rows of the services are for: pods of two cores, a Postgres of 16 cores with a disk of 16 TB that writes a GB a second.
pub const CLUSTER: Machines =
    Machines { pod_cores: 2.0, postgres_cores: 16.0, disk_bytes_per_second: 1e9, disk_bytes: 16e12, replicas: 3.0 };
/// What the rows of the one process are for: two cores, a disk of 1 TB that writes half a GB a second.
pub const LAPTOP: Machines =
    Machines { pod_cores: 2.0, postgres_cores: 0.0, disk_bytes_per_second: 5e8, disk_bytes: 1e12, replicas: 1.0 };

/// The rows of the table, in events a second.
pub const ROWS: [f64; 7] = [1e3, 1e4, 5e4, 1e5, 2e5, 5e5, 1e6];

/// What a row of the table runs on.
#[must_use]
pub fn machines(events_per_second: f64) -> Machines {
    if events_per_second <= ONE_PROCESS { LAPTOP } else { CLUSTER }
}

/// The load of the table: events and batches as measured, kept for 7 days, ten viewers who see a hundredth each.
#[must_use]
pub fn usual(figures: &Figures, events_per_second: f64) -> Load {
    Load {
        events_per_second,
        event_bytes: figures.event_bytes,
        batch: MEASURED_BATCH,
        retention_days: 7.0,
        viewers: 10.0,
        viewer_share: 0.01,
        programs: 100.0,
        outage_minutes: 10.0,
    }
}

/// A plan in words.
pub struct InWords<'a> {
    /// The figures that it was made with.
    pub figures: &'a Figures,
    /// The load.
    pub load: &'a Load,
    /// What it is to run on.
    pub machines: &'a Machines,
    /// The plan.
    pub plan: &'a Plan,
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figures, load, plan, .. } = self;
        writeln!(
            out,
            "{} events/s of {} bytes, {} a batch; measured on: {}",
            Count(load.events_per_second),
            load.event_bytes,
            load.batch,
            figures.machine
        )?;
        writeln!(
            out,
            "every part at most {:.0} % busy, every disk at most {:.0} % full\n",
            BUSY * 100.0,
            FULL * 100.0
        )?;
        self.systems(out)?;
        let memory = Bytes(plan.ingest_memory_bytes);
        if plan.one_process {
            writeln!(
                out,
                "  reflow-tracing     1, with SQLite; {:.2} cores busy, {memory} of memory",
                plan.standalone_cores
            )?;
        } else {
            writeln!(out, "  collectors         {}, {memory} of memory each", plan.collectors)?;
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
            write!(out, "\n{}: breaks first; then: {}", first.what, first.then)?;
        }
        Ok(())
    }
}

impl InWords<'_> {
    /// Why there are several, and what would spare them.
    fn systems(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figures, load, plan, machines } = self;
        if plan.systems == 1 {
            return Ok(());
        }
        let alone = Plan::on(1, figures, load, machines);
        writeln!(
            out,
            "{} systems, each with a tenant, a NATS and a Postgres of its own. One alone would need:",
            plan.systems
        )?;
        for limit in alone.limits.iter().filter(|limit| limit.used > limit.allowed) {
            writeln!(out, "  {:.0} % of {}; instead: {}", limit.used * 100.0, limit.what, limit.then)?;
        }
        writeln!(out, "\neach of the {}:", plan.systems)
    }
}
