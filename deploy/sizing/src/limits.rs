//! What a load uses up of one system, and what to do when it is used up.

use crate::figures::Figures;
use crate::model::{Load, Machines, Plan, at_batch};

/// How busy a part may be at the planned load: that is what makes room for bursts, compaction and one pod less.
pub const BUSY: f64 = 0.6;
/// How full a disk may be.
pub const FULL: f64 = 0.8;
/// Connections that one collector, or `reflow-tracing`, takes by default (`server.max_connections`).
pub const CONNECTIONS: f64 = 10_000.0;

/// One thing that the load uses up.
#[derive(Debug, Clone)]
pub struct Limit {
    /// What it is.
    pub what: &'static str,
    /// Which part of it the load takes; 1 is all.
    pub used: f64,
    /// Which part of it a plan may take.
    pub allowed: f64,
    /// Events a second, of all systems, at which it is used up; infinite where the load is not what uses it.
    pub breaks_at: f64,
    /// What to do then.
    pub then: &'static str,
}

impl Limit {
    fn new(what: &'static str, used: f64, then: &'static str) -> Self {
        Self { what, used, allowed: BUSY, breaks_at: f64::INFINITY, then }
    }

    /// How many systems it takes to use no more of it than allowed.
    #[must_use]
    pub fn systems(&self) -> u64 {
        (self.used / self.allowed).ceil() as u64
    }
}

/// What is used up of one system that takes all of a load, the most first; `plan` says what it is made of.
pub fn limits(plan: &Plan, figures: &Figures, load: &Load, machines: &Machines) -> Vec<Limit> {
    let writing = |bytes: f64| load.events_per_second * bytes / machines.disk_bytes_per_second;
    let disk = Limit {
        allowed: FULL,
        ..Limit::new(
            "size of the disk",
            plan.stored_bytes / machines.disk_bytes,
            "a larger disk, fewer days (retention.max_age_days), or retention.max_bytes",
        )
    };
    let mut limits = if plan.one_process {
        vec![
            Limit::new("cores of the process", plan.standalone_cores / machines.pod_cores, "go over to the services"),
            // SQLite's log and its file.
            Limit::new("writing of the disk", writing(2.0 * plan.event_stored_bytes), "go over to the services"),
            disk,
        ]
    } else {
        // One thread; what it spends on a message grows as the whole of NATS does with smaller batches.
        let smaller = at_batch(figures.batched.nats, figures.single.nats, load.batch) / figures.batched.nats;
        vec![
            Limit::new(
                "the one stream of NATS",
                load.events_per_second * figures.size_factor(load.event_bytes) * smaller * figures.stream,
                "one more system: a NATS and a Postgres, with a REFLOW_TRACING_TENANT of its own, for some of the programs",
            ),
            Limit::new("writing of the NATS disks", writing(plan.event_bus_bytes), "faster disks for NATS"),
            Limit::new(
                "cores of Postgres",
                plan.postgres_cores / machines.postgres_cores,
                "more cores; writers cannot help where Postgres is the limit",
            ),
            Limit::new(
                "writing of the Postgres disk",
                writing(2.0 * plan.event_stored_bytes),
                "a faster disk, the log on one of its own",
            ),
            disk,
        ]
    };
    limits.retain(|limit| limit.used > 0.0);
    for limit in &mut limits {
        limit.breaks_at = plan.systems as f64 * load.events_per_second / limit.used;
    }
    if load.programs > 0.0 {
        let (takers, then) =
            if plan.one_process { (1, "go over to the services") } else { (plan.collectors, "more collectors") };
        let used = load.programs / (takers as f64 * CONNECTIONS);
        limits.push(Limit::new("connections of programs", used, then));
    }
    limits.sort_by(|one, other| other.used.total_cmp(&one.used));
    limits
}
