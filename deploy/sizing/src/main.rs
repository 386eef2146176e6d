//! `reflow-sizing`: a plan for a load, on the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use reflow_tracing_sizing::report::InWords;
use reflow_tracing_sizing::{Figures, Load, Machines, Plan};

/// Says how many of each part of Reflow Tracing a load needs, and what breaks first.
#[derive(Debug, Parser)]
#[command(name = "reflow-sizing", version)]
struct Args {
    /// Events a second, all programs together.
    #[arg(long, value_parser = between(0.001, 1e9))]
    events_per_second: f64,
    /// Bytes of an event's JSON.
    #[arg(long, default_value_t = 622.0, value_parser = between(1.0, 64e6))]
    event_bytes: f64,
    /// Events a batch, 10000 at most (`limits.max_batch_events`); 1 for programs that use the published crates, which send one event a frame.
    #[arg(long, default_value_t = 200.0, value_parser = between(1.0, 10_000.0))]
    batch: f64,
    /// Days that events are kept.
    #[arg(long, default_value_t = 30.0, value_parser = between(0.01, 36_500.0))]
    retention_days: f64,
    /// People who watch live.
    #[arg(long, default_value_t = 10.0, value_parser = between(0.0, 1e6))]
    viewers: f64,
    /// Which part of all events one of them sees, from 0 to 1.
    #[arg(long, default_value_t = 0.01, value_parser = between(0.0, 1.0))]
    viewer_share: f64,
    /// Programs connected at once.
    #[arg(long, default_value_t = 100.0, value_parser = between(0.0, 1e9))]
    programs: f64,
    /// How long the bus shall last while the store is away, in minutes.
    #[arg(long, default_value_t = 10.0, value_parser = between(0.01, 1e6))]
    outage_minutes: f64,
    /// Cores of a pod, or of the machine that `reflow-tracing` runs on.
    #[arg(long, default_value_t = 2.0, value_parser = between(0.01, 1_000.0))]
    pod_cores: f64,
    /// Cores of the Postgres server.
    #[arg(long, default_value_t = 16.0, value_parser = between(0.01, 1_000.0))]
    postgres_cores: f64,
    /// MB a second that each disk writes.
    #[arg(long, default_value_t = 1_000.0, value_parser = between(0.1, 1e6))]
    disk_mb_per_second: f64,
    /// GB of each store's disk.
    #[arg(long, default_value_t = 16_000.0, value_parser = between(0.1, 1e9))]
    disk_gb: f64,
    /// Copies of each chunk on the bus: 1, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = replicas)]
    replicas: u8,
    /// Figures of your own machine: what `cargo bench -p reflow-tracing-tests --bench pipeline -- --json /absolute/FILE` wrote.
    #[arg(long)]
    figures: Option<PathBuf>,
}

fn main() -> ExitCode {
    match plan(&Args::parse()) {
        Ok(words) => {
            println!("{words}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &Args) -> Result<String> {
    let figures = match &args.figures {
        None => Figures::checked_in()?,
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Figures::parse(&text).with_context(|| file.display().to_string())?
        }
    };
    let load = Load {
        events_per_second: args.events_per_second,
        event_bytes: args.event_bytes,
        batch: args.batch,
        retention_days: args.retention_days,
        viewers: args.viewers,
        viewer_share: args.viewer_share,
        programs: args.programs,
        outage_minutes: args.outage_minutes,
    };
    let machines = Machines {
        pod_cores: args.pod_cores,
        postgres_cores: args.postgres_cores,
        disk_bytes_per_second: args.disk_mb_per_second * 1e6,
        disk_bytes: args.disk_gb * 1e9,
        replicas: f64::from(args.replicas),
    };
    let plan = Plan::of(&figures, &load, &machines);
    Ok(InWords { figures: &figures, load: &load, machines: &machines, plan: &plan }.to_string())
}

/// Numbers from one to the other. Beyond what anybody runs a plan would say nothing, and its counts overflow.
fn between(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most} is wanted")),
    }
}

/// An even number of copies bears the loss of no more servers than one less, and costs more.
fn replicas(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|copies| [1, 3, 5].contains(copies)).ok_or_else(|| "1, 3 or 5 is wanted".to_owned())
}
