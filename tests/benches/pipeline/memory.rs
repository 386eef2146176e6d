//! Memory of processes while they work.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use reflow_tracing_tests::Process;
use tokio::time::interval;

use crate::report::{Figure, Goal, Report};

const EVERY: Duration = Duration::from_millis(100);
const MEBIBYTE: f64 = (1 << 20) as f64;
/// A process whose memory is flat has hardly more at the end of a load than in the middle of it.
const FLAT: f64 = 1.25;

/// What a process and its children took, bytes.
pub struct Memory {
    name: &'static str,
    peak: u64,
    middle: u64,
    end: u64,
}

/// Runs `load` and looks at these processes meanwhile.
pub async fn beside<T>(
    processes: &[(&'static str, &Process)],
    load: impl Future<Output = Result<T>>,
) -> Result<(T, Vec<Memory>)> {
    let mut samples = vec![Vec::new(); processes.len()];
    let mut ticks = interval(EVERY);
    let mut load = pin!(load);
    let outcome = loop {
        tokio::select! {
            outcome = &mut load => break outcome?,
            _ = ticks.tick() => {
                for ((_, process), samples) in processes.iter().zip(&mut samples) {
                    samples.push(process.family_bytes()?);
                }
            }
        }
    };
    let memory = processes.iter().zip(samples).map(|((name, process), samples)| {
        let end = *samples.last().context("the load was over before it was looked at")?;
        // The kernel's own high water mark misses no moment, but knows nothing of children.
        let peak = samples.iter().copied().max().unwrap_or(end).max(process.peak_resident_bytes()?);
        Ok(Memory { name, peak, middle: samples[samples.len() / 2], end })
    });
    Ok((outcome, memory.collect::<Result<_>>()?))
}

/// Reports the most of each process, and of those that a goal is for, whether it grew.
pub fn report(memory: &[Memory], report: &mut Report) {
    for Memory { name, peak, middle, end } in memory {
        let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE;
        let judged = matches!(*name, "collector" | "standalone");
        let goal = if judged { Goal::AtMost(128.0) } else { Goal::None };
        let course = format!("half way {:.0} MiB, at the end {:.0} MiB", mebibytes(*middle), mebibytes(*end));
        let figure = Figure::new(format!("  memory of {name} at that rate, peak"), mebibytes(*peak), "MiB");
        report.figure(figure.goal(goal).note(course));
        if judged {
            let growth = *end as f64 / *middle as f64;
            let figure = Figure::new(format!("  memory of {name}, at the end by half way"), growth, "times");
            report.figure(figure.goal(Goal::AtMost(FLAT)));
        }
    }
}
