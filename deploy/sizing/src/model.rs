//! The model: costs an event, times the load, over what a part may use.
//!
//! Assumptions, each on the careful side:
//! - The cost of an event is `a + b / batch`, through the two measured points: batches of 200, and v1 programs that send one
//!   event a frame (whose frames the collector gathers).
//! - Costs and bytes grow with the size of an event in proportion; for smaller ones than the measured they shrink half as fast,
//!   because not everything in an event is bytes.
//! - A stream of NATS is written in order, by one thread of one server, however many servers there are; each replica costs as much
//!   again on another server.
//! - Postgres writes every stored byte twice: to its log, and to its tables. Payloads are compressed already.
//! - A part is planned to be busy for no more than [`BUSY`]: that is what makes room for bursts, compaction and one pod less.

use crate::figures::{Costs, Figures, MEASURED_BATCH};

/// How busy a part may be at the planned load.
pub const BUSY: f64 = 0.6;
/// Below so many events a second one process with SQLite does it all, in half a core and without a server to look after.
pub const ONE_PROCESS: f64 = 20_000.0;
/// Connections that one collector takes by default (`server.max_connections`).
const CONNECTIONS: f64 = 10_000.0;
/// Connections of one process to Postgres by default (`storage.postgres.max_connections`).
const POSTGRES_CONNECTIONS: u64 = 10;
/// Two of each, so that one can be restarted.
const AT_LEAST: u64 = 2;
const DAY: f64 = 86_400.0;
const GIB: f64 = (1_u64 << 30) as f64;

/// What comes in, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Events a second, all programs together, the whole day.
    pub events_per_second: f64,
    /// Bytes of an event's JSON.
    pub event_bytes: f64,
    /// Events a batch; 1 for v1 programs.
    pub batch: f64,
    /// Days that events are kept.
    pub retention_days: f64,
    /// People who watch live.
    pub viewers: f64,
    /// Which part of all events one of them sees.
    pub viewer_share: f64,
    /// Programs connected at once.
    pub programs: f64,
    /// How long the bus shall last while the store is away, in minutes.
    pub outage_minutes: f64,
}

/// What there is to run it on.
#[derive(Debug, Clone, Copy)]
pub struct Machines {
    /// Cores of a collector's, a writer's or a query service's pod.
    pub pod_cores: f64,
    /// Cores of the Postgres server.
    pub postgres_cores: f64,
    /// Bytes a second that the disk of Postgres, and that of each NATS server, write.
    pub disk_bytes_per_second: f64,
    /// Bytes of the disk of Postgres, or of the SQLite file.
    pub disk_bytes: f64,
    /// Copies of each chunk on the bus.
    pub replicas: f64,
}

/// One thing that the load uses up.
#[derive(Debug, Clone)]
pub struct Limit {
    /// What it is.
    pub what: &'static str,
    /// Which part of it the load takes; 1 is all.
    pub used: f64,
    /// Events a second at which it is used up; infinite where the load is not what uses it.
    pub breaks_at: f64,
    /// What to do then.
    pub then: &'static str,
}

/// What a load needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether one process with SQLite is enough; the counts of the services are then 0.
    pub one_process: bool,
    /// Cores of `reflow-tracing` that are busy.
    pub standalone_cores: f64,
    /// Pods.
    pub collectors: u64,
    /// Pods.
    pub writers: u64,
    /// Pods.
    pub queries: u64,
    /// Servers.
    pub nats_servers: u64,
    /// Cores of each NATS server that are busy.
    pub nats_cores: f64,
    /// Cores of Postgres that are busy.
    pub postgres_cores: f64,
    /// Bytes a day in the store.
    pub bytes_per_day: f64,
    /// Bytes in the store when the retention is full.
    pub stored_bytes: f64,
    /// `bus.nats.stream_max_bytes`.
    pub stream_max_bytes: f64,
    /// `max_wal_size`: ten minutes of log, so that checkpoints come by time.
    pub max_wal_bytes: f64,
    /// `max_connections` of Postgres.
    pub postgres_connections: u64,
    /// What is used up first comes first.
    pub limits: Vec<Limit>,
}

impl Plan {
    /// The plan for a load.
    #[must_use]
    pub fn of(figures: &Figures, load: &Load, machines: &Machines) -> Self {
        let rate = load.events_per_second;
        let size = size_factor(load.event_bytes / figures.event_bytes);
        let cores =
            |cost: fn(&Costs) -> f64| rate * size * at_batch(cost(&figures.batched), cost(&figures.single), load.batch);
        let one_process = rate <= ONE_PROCESS;
        let pods = |busy: f64| ((busy / (machines.pod_cores * BUSY)).ceil() as u64).max(AT_LEAST);

        let viewing = rate * size * load.viewer_share * load.viewers * figures.viewing;
        let collector = cores(|costs| costs.collector);
        let collectors = pods(collector).max((load.programs / CONNECTIONS / BUSY).ceil() as u64);
        let (writers, queries) = (pods(cores(|costs| costs.writer)), pods(viewing));
        let nats_cores = cores(|costs| costs.nats);
        let postgres_cores = cores(|costs| costs.postgres);

        let stored = if one_process { figures.stored_bytes_sqlite } else { figures.stored_bytes_postgres };
        let event_stored = stored * load.event_bytes / figures.event_bytes;
        let on_the_bus = figures.compressed_bytes * load.event_bytes / figures.event_bytes;
        let bytes_per_day = rate * DAY * event_stored;
        let outage = rate * on_the_bus * load.outage_minutes * 60.0;

        let mut plan = Self {
            one_process,
            standalone_cores: cores(|costs| costs.standalone) + if one_process { viewing } else { 0.0 },
            collectors: if one_process { 0 } else { collectors },
            writers: if one_process { 0 } else { writers },
            queries: if one_process { 0 } else { queries },
            nats_servers: if one_process { 0 } else { machines.replicas as u64 },
            nats_cores,
            postgres_cores,
            bytes_per_day,
            stored_bytes: bytes_per_day * load.retention_days,
            stream_max_bytes: (outage / GIB).ceil().max(1.0) * GIB,
            max_wal_bytes: (rate * event_stored * 600.0 / GIB).ceil().max(1.0) * GIB,
            postgres_connections: POSTGRES_CONNECTIONS * (writers + queries) + 20,
            limits: Vec::new(),
        };
        plan.limits = plan.limits(figures, load, machines, size, event_stored, on_the_bus);
        plan
    }

    fn limits(
        &self,
        figures: &Figures,
        load: &Load,
        machines: &Machines,
        size: f64,
        event_stored: f64,
        on_the_bus: f64,
    ) -> Vec<Limit> {
        let rate = load.events_per_second;
        let limit = |what, used: f64, then| Limit { what, used, breaks_at: rate / used, then };
        let disk = limit(
            "size of the disk",
            self.stored_bytes / machines.disk_bytes,
            "keep fewer days (retention.max_age_days), or set retention.max_bytes",
        );
        let writing = |bytes: f64| rate * bytes / machines.disk_bytes_per_second;
        let mut limits = if self.one_process {
            vec![
                limit("cores of the process", self.standalone_cores / machines.pod_cores, "go over to the services"),
                // SQLite's log and its file.
                limit("writing of the disk", writing(2.0 * event_stored), "go over to the services"),
                disk,
            ]
        } else {
            // One thread; what it spends on a message grows as the whole of NATS does with smaller batches.
            let smaller = at_batch(figures.batched.nats, figures.single.nats, load.batch) / figures.batched.nats;
            let connections = load.programs / (self.collectors as f64 * CONNECTIONS);
            vec![
                limit(
                    "the one stream of NATS",
                    rate * size * smaller * figures.stream,
                    "a tenant of its own (REFLOW_TRACING_TENANT, on a NATS of its own) for some of the programs",
                ),
                limit("writing of the NATS disks", writing(on_the_bus), "faster disks for NATS"),
                limit(
                    "cores of Postgres",
                    self.postgres_cores / machines.postgres_cores,
                    "more cores; writers cannot help where Postgres is the limit",
                ),
                limit(
                    "writing of the Postgres disk",
                    writing(2.0 * event_stored),
                    "a faster disk, the log on one of its own",
                ),
                Limit { breaks_at: f64::INFINITY, ..limit("connections of programs", connections, "more collectors") },
                disk,
            ]
        };
        limits.retain(|limit| limit.used > 0.0);
        limits.sort_by(|one, other| other.used.total_cmp(&one.used));
        limits
    }

    /// What is used up first as the rate grows.
    #[must_use]
    pub fn breaks_first(&self) -> Option<&Limit> {
        self.limits.iter().min_by(|one, other| one.breaks_at.total_cmp(&other.breaks_at))
    }
}

/// `a + b / batch` through both measured points.
fn at_batch(batched: f64, single: f64, batch: f64) -> f64 {
    let b = (single - batched).max(0.0) / (1.0 - 1.0 / MEASURED_BATCH);
    batched - b / MEASURED_BATCH + b / batch.max(1.0)
}

fn size_factor(ratio: f64) -> f64 {
    if ratio < 1.0 { 0.5 + 0.5 * ratio } else { ratio }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{MACHINES, usual};

    fn plan(load: &Load) -> Plan {
        Plan::of(&Figures::checked_in().unwrap(), load, &MACHINES)
    }

    #[test]
    fn the_measured_points_come_out_as_measured() {
        assert!((at_batch(2.0, 10.0, 200.0) - 2.0).abs() < 1e-9);
        assert!((at_batch(2.0, 10.0, 1.0) - 10.0).abs() < 1e-9);
        let between = at_batch(2.0, 10.0, 10.0);
        assert!(2.0 < between && between < 10.0);
        // At the measured rate of a core each part is busy for its share of that core.
        let plan = plan(&usual(325_000.0));
        assert!((plan.nats_cores - 0.20).abs() < 0.01 && (plan.postgres_cores - 0.19).abs() < 0.01, "{plan:?}");
    }

    #[test]
    fn a_laptop_needs_one_process_and_a_million_a_second_needs_many() {
        let laptop = plan(&usual(1_000.0));
        assert!(laptop.one_process && laptop.collectors == 0 && laptop.standalone_cores < 0.1);
        let large = plan(&usual(1_000_000.0));
        assert!(!large.one_process && large.collectors >= 2 && large.writers >= 2 && large.queries >= 2);
        assert!(large.bytes_per_day > 5e12, "{}", large.bytes_per_day);
        assert!(large.stream_max_bytes >= 1_000_000.0 * 79.0 * 600.0);
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let base = usual(200_000.0);
        let needs = |load: &Load| {
            let plan = plan(load);
            let pods = (plan.collectors + plan.writers + plan.queries) as f64;
            pods + plan.nats_cores + plan.postgres_cores + plan.stored_bytes / 1e12 + plan.stream_max_bytes / 1e12
        };
        for more in [
            Load { events_per_second: 400_000.0, ..base },
            Load { event_bytes: 2_000.0, ..base },
            Load { batch: 1.0, ..base },
            Load { retention_days: 90.0, ..base },
            Load { viewers: 10_000.0, ..base },
            Load { programs: 1_000_000.0, ..base },
            Load { outage_minutes: 120.0, ..base },
        ] {
            assert!(needs(&more) > needs(&base), "{more:?}");
        }
    }

    #[test]
    fn what_breaks_first_does_so_at_the_rate_it_says() {
        let figures = Figures::checked_in().unwrap();
        for (machines, first) in [
            (
                Machines { disk_bytes: 1e17, disk_bytes_per_second: 1e12, postgres_cores: 1e3, ..MACHINES },
                "the one stream of NATS",
            ),
            (
                Machines { disk_bytes: 1e17, disk_bytes_per_second: 1e12, postgres_cores: 0.2, ..MACHINES },
                "cores of Postgres",
            ),
            (Machines { disk_bytes: 4e12, ..MACHINES }, "size of the disk"),
            (Machines { disk_bytes: 1e17, disk_bytes_per_second: 5e7, ..MACHINES }, "writing of the Postgres disk"),
        ] {
            let limit = Plan::of(&figures, &usual(100_000.0), &machines).breaks_first().unwrap().clone();
            assert_eq!(limit.what, first);
            let there = Plan::of(&figures, &usual(limit.breaks_at), &machines);
            let used = there.limits.iter().find(|limit| limit.what == first).unwrap().used;
            assert!((used - 1.0).abs() < 1e-6, "{first}: {used}");
        }
    }
}
