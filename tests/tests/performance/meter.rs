//! What a run took: time, CPU seconds and memory of each process, and of the test itself, which is the client.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reflow_tracing_tests::Process;

pub struct Meter<'a> {
    name: &'static str,
    began: Instant,
    processes: Vec<(&'static str, &'a Process, Duration)>,
}

impl<'a> Meter<'a> {
    pub fn start(name: &'static str, processes: &[(&'static str, &'a Process)]) -> Result<Self> {
        let processes = processes
            .iter()
            .map(|(name, process)| Ok((*name, *process, process.cpu_time()?)))
            .collect::<Result<_>>()?;
        Ok(Self { name, began: Instant::now(), processes })
    }

    /// Prints the figures; fails when one of our processes took more memory than that at any time.
    pub fn stop(self, events: usize, most_memory_bytes: u64) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{}: {events} events in {seconds:.2} s, {:.0} events/s", self.name, events as f64 / seconds);
        let mut total = 0.0;
        for (name, process, before) in &self.processes {
            let cpu = (process.cpu_time()? - *before).as_secs_f64();
            total += cpu;
            let peak = process.peak_resident_bytes()?;
            println!("    {name}: {cpu:.2} CPU seconds, {} MiB at most", peak >> 20);
            // Postgres counts what its backends share once for each of them.
            let ours = !["nats", "postgres"].contains(name);
            ensure!(!ours || peak < most_memory_bytes, "{name} took {} MiB", peak >> 20);
        }
        println!("    together: {total:.2} CPU seconds, {:.0} events a CPU second", events as f64 / total);
        Ok(())
    }
}
