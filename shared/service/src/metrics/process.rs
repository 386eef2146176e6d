//! Memory, processor time and open files of this process, read from `/proc` when somebody asks.
//!
//! By hand and not with the client library's own collector, which brings a crate for the whole of `/proc` and lacks the
//! peak of memory, by which the promise of a flat memory is judged. Where there is no `/proc` nothing is exported: a number that
//! was not measured is never shown as zero.

use std::{fs, sync::Mutex};

use prometheus::{
    Counter, Gauge, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::MetricDoc;

const CPU: MetricDoc =
    MetricDoc::counter("process_cpu_seconds_total", &[], "processor time used, user and system, in seconds");
const RESIDENT: MetricDoc = MetricDoc::gauge("process_resident_memory_bytes", &[], "resident memory, in bytes");
const PEAK: MetricDoc =
    MetricDoc::gauge("process_resident_memory_peak_bytes", &[], "most resident memory so far, in bytes");
const OPEN_FDS: MetricDoc = MetricDoc::gauge("process_open_fds", &[], "open file descriptors");
const START: MetricDoc =
    MetricDoc::gauge("process_start_time_seconds", &[], "when the process started, in seconds since 1970");

/// What is told of every process.
pub const PROCESS_METRICS: [MetricDoc; 5] = [CPU, RESIDENT, PEAK, OPEN_FDS, START];

/// `USER_HZ`, which Linux keeps at 100 for user space on all architectures, see proc(5).
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct ProcessCollector {
    cpu: Counter,
    /// What the counter was last raised to; two scrapes at once must not both add the difference.
    cpu_seen: Mutex<f64>,
    resident: IntGauge,
    peak: IntGauge,
    open_fds: IntGauge,
    start: Gauge,
}

impl ProcessCollector {
    pub fn try_new() -> Result<Self, prometheus::Error> {
        let collector = Self {
            cpu: Counter::new(CPU.name, CPU.help)?,
            cpu_seen: Mutex::new(0.0),
            resident: IntGauge::new(RESIDENT.name, RESIDENT.help)?,
            peak: IntGauge::new(PEAK.name, PEAK.help)?,
            open_fds: IntGauge::new(OPEN_FDS.name, OPEN_FDS.help)?,
            start: Gauge::new(START.name, START.help)?,
        };
        if let Some(start) = started_at() {
            collector.start.set(start);
        }
        Ok(collector)
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut descs = self.cpu.desc();
        descs.extend(self.resident.desc());
        descs.extend(self.peak.desc());
        descs.extend(self.open_fds.desc());
        descs.extend(self.start.desc());
        descs
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        if let (Some(ticks), Ok(mut seen)) = (cpu_ticks(), self.cpu_seen.lock()) {
            let seconds = ticks / TICKS_PER_SECOND;
            self.cpu.inc_by((seconds - *seen).max(0.0));
            *seen = seconds;
            families.extend(self.cpu.collect());
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            for (field, gauge) in [("VmRSS:", &self.resident), ("VmHWM:", &self.peak)] {
                if let Some(bytes) = status_bytes(&status, field) {
                    gauge.set(bytes);
                    families.extend(gauge.collect());
                }
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            self.open_fds.set(i64::try_from(files.count()).unwrap_or(i64::MAX) - 1);
            families.extend(self.open_fds.collect());
        }
        if self.start.get() > 0.0 {
            families.extend(self.start.collect());
        }
        families
    }
}

/// A field of `/proc/self/status`, which counts in KiB.
fn status_bytes(status: &str, field: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: i64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1_024)
}

/// The fields of `/proc/self/stat` after the program's name, which may hold spaces and brackets itself.
fn stat_field(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    // proc(5) counts from 1; the name is field 2.
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_ticks() -> Option<f64> {
    Some(stat_field(14)? + stat_field(15)?)
}

fn started_at() -> Option<f64> {
    let booted: f64 =
        fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(booted + stat_field(22)? / TICKS_PER_SECOND)
}
