//! Time, CPU time and percentiles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reflow_tracing_tests::Process;

/// Events a second, twice: of CPU time of all processes involved, and of wall time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub events: u64,
    pub cpu: Duration,
    pub wall: Duration,
}

impl Rate {
    /// Events per CPU-second.
    pub fn per_cpu(&self) -> f64 {
        self.events as f64 / self.cpu.as_secs_f64().max(1e-3)
    }

    /// Events per second.
    pub fn per_second(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64().max(1e-3)
    }
}

/// CPU time of this process and of others, from a moment on.
pub struct Meter<'a> {
    others: Vec<(&'static str, &'a Process, Duration)>,
    ours: Duration,
    started: Instant,
}

impl<'a> Meter<'a> {
    /// Starts to measure this process and `others`.
    pub fn start(others: &[(&'static str, &'a Process)]) -> Result<Self> {
        let others = others
            .iter()
            .map(|(name, process)| Ok((*name, *process, process.cpu_time()?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { others, ours: own_cpu()?, started: Instant::now() })
    }

    /// What was used since, and by whom.
    pub fn stop(self, events: u64) -> Result<(Rate, String)> {
        let wall = self.started.elapsed();
        let ours = own_cpu()?.saturating_sub(self.ours);
        let mut cpu = ours;
        let mut shares = vec![("client", ours)];
        for (name, process, before) in self.others {
            let used = process.cpu_time()?.saturating_sub(before);
            cpu += used;
            shares.push((name, used));
        }
        let share = |(name, used): &(&str, Duration)| {
            format!("{name} {:.0}%", 100.0 * used.as_secs_f64() / cpu.as_secs_f64().max(1e-3))
        };
        let note =
            if shares.len() == 1 { String::new() } else { shares.iter().map(share).collect::<Vec<_>>().join(", ") };
        Ok((Rate { events, cpu, wall }, note))
    }
}

/// Repeats `round`, which handles `events` events, for about `time` of CPU.
pub fn repeat(time: Duration, events: u64, mut round: impl FnMut() -> Result<()>) -> Result<Rate> {
    round()?;
    let meter = Meter::start(&[])?;
    let mut total = 0;
    while meter.started.elapsed() < time {
        round()?;
        total += events;
    }
    Ok(meter.stop(total)?.0)
}

/// CPU time that this process has used, user and system.
fn own_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("no /proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    // proc(5): utime and stime are fields 14 and 15; USER_HZ is 100.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Latencies, for their percentiles.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Latency, in ms, that a share `q` of all stays at or under.
    pub fn quantile_ms(&mut self, q: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let rank = ((self.0.len() as f64 * q).ceil() as usize).saturating_sub(1).min(last);
        self.0.get(rank).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}
