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
//! - No part is planned busier than [`BUSY`], no disk fuller than [`FULL`](crate::limits::FULL). Pods are added
//!   for that; where pods do not help (the stream, Postgres, disks) the load is divided among systems, each with a NATS and a
//!   Postgres of its own.

use crate::figures::{Costs, Figures, MEASURED_BATCH};
use crate::limits::{BUSY, CONNECTIONS, Limit, limits};

/// Up to so many events a second one process with SQLite does it all, in half a core and without a server to look after.
pub const ONE_PROCESS: f64 = 20_000.0;
/// Programs that may be connected to it: it takes as many connections as a collector does.
pub const ONE_PROCESS_PROGRAMS: f64 = CONNECTIONS * BUSY;
/// Connections of one process to Postgres by default (`storage.postgres.max_connections`).
const POSTGRES_CONNECTIONS: u64 = 10;
/// What others take of Postgres' connections: the migration, backups, people.
const OTHER_CONNECTIONS: u64 = 20;
/// `checkpoint_timeout` in the table of settings, and its `checkpoint_completion_target`. Postgres begins a checkpoint when the log
/// since the last one is `max_wal_size / (1 + checkpoint_completion_target)`.
const CHECKPOINT_SECONDS: f64 = 900.0;
const COMPLETION_TARGET: f64 = 0.9;
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

/// What there is to run a system on.
#[derive(Debug, Clone, Copy)]
pub struct Machines {
    /// Cores of a collector's, a writer's or a query service's pod; of the machine for `reflow-tracing`.
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

/// What a load needs. All but `systems` is of each system.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many systems the load is divided among.
    pub systems: u64,
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
    /// Bytes of memory of each collector, or of `reflow-tracing`, its connections included.
    pub ingest_memory_bytes: f64,
    /// Bytes of an event in the store.
    pub event_stored_bytes: f64,
    /// Bytes of an event on the bus.
    pub event_bus_bytes: f64,
    /// Bytes a day in the store.
    pub bytes_per_day: f64,
    /// Bytes in the store when the retention is full.
    pub stored_bytes: f64,
    /// `bus.nats.stream_max_bytes`.
    pub stream_max_bytes: f64,
    /// `max_wal_size`: so much that checkpoints come by time.
    pub max_wal_bytes: f64,
    /// `max_connections` of Postgres.
    pub postgres_connections: u64,
    /// What is used up, the most first.
    pub limits: Vec<Limit>,
}

impl Plan {
    /// The plan for a load, on as many systems as it takes.
    #[must_use]
    pub fn of(figures: &Figures, load: &Load, machines: &Machines) -> Self {
        let alone = Self::on(1, figures, load, machines);
        match alone.limits.iter().map(Limit::systems).max() {
            Some(systems @ 2..) => Self::on(systems, figures, load, machines),
            _ => alone,
        }
    }

    /// The plan for a load on so many systems, whether they bear it or not.
    #[must_use]
    pub fn on(systems: u64, figures: &Figures, load: &Load, machines: &Machines) -> Self {
        let one_process = load.events_per_second <= ONE_PROCESS && load.programs <= ONE_PROCESS_PROGRAMS;
        let load = Load {
            events_per_second: load.events_per_second / systems as f64,
            programs: load.programs / systems as f64,
            ..*load
        };
        let rate = load.events_per_second;
        let size = figures.size_factor(load.event_bytes);
        let cores =
            |cost: fn(&Costs) -> f64| rate * size * at_batch(cost(&figures.batched), cost(&figures.single), load.batch);
        let services = |count: u64| if one_process { 0 } else { count };
        let pods = |busy: f64| services(((busy / (machines.pod_cores * BUSY)).ceil() as u64).max(AT_LEAST));

        let viewing = rate * size * load.viewer_share * load.viewers * figures.viewing;
        let for_connections = (load.programs / CONNECTIONS / BUSY).ceil() as u64;
        let collectors = pods(cores(|costs| costs.collector)).max(services(for_connections));
        let (writers, queries) = (pods(cores(|costs| costs.writer)), pods(viewing));
        let memory = &figures.memory;
        let ingest_memory_bytes = if one_process {
            memory.standalone + load.programs * memory.connection_standalone
        } else {
            memory.collector + load.programs / collectors as f64 * memory.connection
        };

        let stored = if one_process { figures.stored_bytes_sqlite } else { figures.stored_bytes_postgres };
        let event_stored_bytes = stored * load.event_bytes / figures.event_bytes;
        let event_bus_bytes = figures.compressed_bytes * load.event_bytes / figures.event_bytes;
        let bytes_per_day = rate * DAY * event_stored_bytes;
        let outage = rate * event_bus_bytes * load.outage_minutes * 60.0;
        let log = rate * event_stored_bytes * CHECKPOINT_SECONDS * (1.0 + COMPLETION_TARGET);

        let mut plan = Self {
            systems,
            one_process,
            standalone_cores: cores(|costs| costs.standalone) + if one_process { viewing } else { 0.0 },
            collectors,
            writers,
            queries,
            nats_servers: services(machines.replicas as u64),
            nats_cores: cores(|costs| costs.nats),
            postgres_cores: cores(|costs| costs.postgres),
            ingest_memory_bytes,
            event_stored_bytes,
            event_bus_bytes,
            bytes_per_day,
            stored_bytes: bytes_per_day * load.retention_days,
            stream_max_bytes: whole_gib(outage),
            max_wal_bytes: whole_gib(log),
            postgres_connections: POSTGRES_CONNECTIONS * (writers + queries) + OTHER_CONNECTIONS,
            limits: Vec::new(),
        };
        plan.limits = limits(&plan, figures, &load, machines);
        plan
    }

    /// What is used up first as the rate grows.
    #[must_use]
    pub fn breaks_first(&self) -> Option<&Limit> {
        self.limits.iter().min_by(|one, other| one.breaks_at.total_cmp(&other.breaks_at))
    }
}

fn whole_gib(bytes: f64) -> f64 {
    (bytes / GIB).ceil().max(1.0) * GIB
}

/// `a + b / batch` through both measured points.
pub(crate) fn at_batch(batched: f64, single: f64, batch: f64) -> f64 {
    let b = (single - batched).max(0.0) / (1.0 - 1.0 / MEASURED_BATCH);
    batched - b / MEASURED_BATCH + b / batch.max(1.0)
}

impl Figures {
    /// How much more than a measured event one of so many bytes costs.
    pub(crate) fn size_factor(&self, event_bytes: f64) -> f64 {
        let ratio = event_bytes / self.event_bytes;
        if ratio < 1.0 { 0.5 + 0.5 * ratio } else { ratio }
    }
}

#[cfg(test)]
mod tests;
