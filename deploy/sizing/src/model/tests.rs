//! What holds of every plan.

use super::*;
use crate::limits::FULL;
use crate::report::{CLUSTER, ROWS, machines, usual};

fn figures() -> Figures {
    Figures::checked_in().unwrap()
}

fn plan(load: &Load) -> Plan {
    Plan::of(&figures(), load, &CLUSTER)
}

#[test]
fn the_measured_points_come_out_as_measured() {
    assert!((at_batch(2.0, 10.0, 200.0) - 2.0).abs() < 1e-9);
    assert!((at_batch(2.0, 10.0, 1.0) - 10.0).abs() < 1e-9);
    let between = at_batch(2.0, 10.0, 10.0);
    assert!(2.0 < between && between < 10.0);
    // At the measured rate of a core each part is busy for its share of that core.
    let figures = figures();
    let load = usual(&figures, figures.together_batched);
    let plan = Plan::on(1, &figures, &load, &CLUSTER);
    assert!((plan.nats_cores - figures.together_batched * figures.batched.nats).abs() < 1e-6, "{plan:?}");
    assert!(plan.nats_cores < 1.0 && plan.postgres_cores < 1.0, "{plan:?}");
}

#[test]
fn a_laptop_needs_one_process_and_a_million_a_second_needs_many() {
    let figures = figures();
    let laptop = plan(&usual(&figures, 1_000.0));
    assert!(laptop.one_process && laptop.systems == 1 && laptop.collectors == 0 && laptop.standalone_cores < 0.1);
    let large = plan(&usual(&figures, 1_000_000.0));
    assert!(!large.one_process && large.collectors >= 2 && large.writers >= 2 && large.queries >= 2);
    let systems = large.systems as f64;
    assert!(systems * large.bytes_per_day > 5e12, "{}", large.bytes_per_day);
    assert!(systems * large.stream_max_bytes >= 1_000_000.0 * figures.compressed_bytes * 600.0);
}

#[test]
fn no_row_of_the_table_takes_more_than_its_machines_have() {
    let figures = figures();
    for rate in ROWS {
        let machines = machines(rate);
        let plan = Plan::of(&figures, &usual(&figures, rate), &machines);
        for limit in &plan.limits {
            assert!(limit.used <= limit.allowed, "{rate}: {limit:?}");
            assert!(limit.breaks_at >= rate / limit.allowed * 0.999, "{rate}: {limit:?}");
        }
        assert!(plan.stored_bytes <= machines.disk_bytes * FULL, "{rate}");
        assert!(!plan.limits.is_empty() && plan.breaks_first().is_some_and(|first| first.breaks_at.is_finite()));
    }
}

#[test]
fn a_load_is_divided_among_no_more_systems_than_it_takes() {
    let figures = figures();
    let load = usual(&figures, 1_000_000.0);
    let plan = plan(&load);
    assert!(plan.systems > 1);
    let fewer = Plan::on(plan.systems - 1, &figures, &load, &CLUSTER);
    assert!(fewer.limits.iter().any(|limit| limit.used > limit.allowed));
    let endless = Machines { disk_bytes: 1e18, disk_bytes_per_second: 1e13, postgres_cores: 1e4, ..CLUSTER };
    let stream = Plan::of(&figures, &usual(&figures, BUSY / figures.stream * 2.5), &endless);
    assert_eq!((stream.systems, stream.limits[0].what), (3, "the one stream of NATS"));
}

#[test]
fn more_programs_than_one_process_takes_need_collectors() {
    let few = Load { programs: ONE_PROCESS_PROGRAMS, ..usual(&figures(), ONE_PROCESS) };
    let one = plan(&few);
    assert!(one.one_process, "{one:?}");
    let connections = one.limits.iter().find(|limit| limit.what == "connections of programs").unwrap();
    assert!((connections.used - BUSY).abs() < 1e-9 && connections.systems() == 1, "{connections:?}");
    let many = plan(&Load { programs: 50_000.0, ..few });
    assert!(!many.one_process && many.collectors as f64 * CONNECTIONS * BUSY >= 50_000.0, "{many:?}");
}

#[test]
fn more_of_anything_never_needs_less() {
    for rate in [100.0, ONE_PROCESS, 100_000.0] {
        more_never_needs_less(usual(&figures(), rate));
    }
}

fn more_never_needs_less(base: Load) {
    let needs = |load: &Load| {
        let plan = plan(load);
        let pods = (plan.collectors + plan.writers + plan.queries) as f64;
        let cores = if plan.one_process { plan.standalone_cores } else { plan.nats_cores + plan.postgres_cores };
        let each = pods + cores + (plan.stored_bytes + plan.stream_max_bytes) / 1e12;
        plan.systems as f64 * (each + plan.ingest_memory_bytes / 1e9)
    };
    for more in [
        Load { events_per_second: 4.0 * base.events_per_second, ..base },
        Load { event_bytes: 2_000.0, ..base },
        Load { batch: 1.0, ..base },
        Load { retention_days: 90.0, ..base },
        Load { viewers: 10_000.0, ..base },
        Load { programs: 1_000_000.0, ..base },
        Load { outage_minutes: 120.0, ..base },
    ] {
        // One process is its own store: that is never away.
        let bus = more.outage_minutes == base.outage_minutes || !plan(&base).one_process;
        assert!(if bus { needs(&more) > needs(&base) } else { needs(&more) >= needs(&base) }, "{more:?}");
    }
}

#[test]
fn what_breaks_first_does_so_at_the_rate_it_says() {
    let figures = figures();
    for (machines, first) in [
        (
            Machines { disk_bytes: 1e17, disk_bytes_per_second: 1e12, postgres_cores: 1e3, ..CLUSTER },
            "the one stream of NATS",
        ),
        (
            Machines { disk_bytes: 1e17, disk_bytes_per_second: 1e12, postgres_cores: 0.2, ..CLUSTER },
            "cores of Postgres",
        ),
        (Machines { disk_bytes: 8e12, ..CLUSTER }, "size of the disk"),
        (Machines { disk_bytes: 1e17, disk_bytes_per_second: 5e7, ..CLUSTER }, "writing of the Postgres disk"),
    ] {
        let plan = Plan::of(&figures, &usual(&figures, 100_000.0), &machines);
        let limit = plan.breaks_first().unwrap();
        assert_eq!(limit.what, first);
        let there = Plan::on(plan.systems, &figures, &usual(&figures, limit.breaks_at), &machines);
        let used = there.limits.iter().find(|limit| limit.what == first).unwrap().used;
        assert!((used - 1.0).abs() < 1e-6, "{first}: {used}");
    }
}
