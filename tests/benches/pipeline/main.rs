//! The benchmark: each part of a path alone, the paths themselves, latencies, bytes and memory, on the same events in one run.
//!
//! Every figure is printed beside its `bound` (what the parts, measured in the same run, allow) and its goal, because absolute
//! numbers belong to a machine and ratios do not. Servers and our executables are started by the test harness, each in a temporary
//! folder, and are gone when the benchmark is. What must be true besides (everything acked is stored, once) is checked on the way,
//! but judged by the tests. `--help` says what can be chosen.

mod backend;
mod idle;
mod live;
mod load;
mod memory;
mod meter;
mod options;
mod parts;
mod paths;
mod queries;
mod report;
mod senders;
mod storage;
mod systems;

use anyhow::Result;

use options::Options;
use report::Report;

fn main() -> Result<()> {
    let Some(options) = Options::read(std::env::args().skip(1))? else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    for section in options::SECTIONS.into_iter().filter(|section| options.wants(section)) {
        eprintln!("{section}:");
        match section {
            "parts" => parts::run(options, &mut report).await?,
            "sqlite" => paths::sqlite(options, &mut report).await?,
            "nats" => paths::nats(options, &mut report).await?,
            "v1" => paths::v1(options, &mut report).await?,
            "live" => live::run(options, &mut report).await?,
            "storage" => storage::run(options, &mut report).await?,
            "idle" => idle::run(options, &mut report).await?,
            _ => queries::run(options, &mut report).await?,
        }
    }
    report.print();
    options.json.as_deref().map_or(Ok(()), |file| report.write(file))
}
