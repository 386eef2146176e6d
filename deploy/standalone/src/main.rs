//! `reflow-tracing`: configuration, logs, admin port, store, bus, writer, history, sessions; see `run.rs` for the order. Two jobs
//! beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reflow_tracing::dead_letters;
use reflow_tracing_service::{CommonArgs, Role, arguments, run, run_job};
use reflow_tracing_writer::backup;

/// Takes events from Reflow programs, stores them, and shows them: everything in one process, without any server to install.
#[derive(Debug, Parser)]
#[command(name = "reflow-tracing", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    job: Option<Job>,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Copy the SQLite database into a new file while it is in use, and stop.
    Backup {
        #[command(flatten)]
        common: CommonArgs,
        /// The file to make.
        file: PathBuf,
    },
    /// Print the chunks that could not be stored, newest first: one JSON object a line, with the reason.
    DeadLetters {
        #[command(flatten)]
        common: CommonArgs,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

fn main() -> ExitCode {
    let args: Args = arguments();
    match args.job {
        None => run(Role::Standalone, &args.common, reflow_tracing::start),
        Some(Job::Backup { common, file }) => run_job(Role::Standalone, &common, async |config| {
            println!("{} bytes copied into {}", backup(config, &file).await?, file.display());
            Ok(())
        }),
        Some(Job::DeadLetters { common, limit }) => {
            run_job(Role::Standalone, &common, async |config| dead_letters::print(config, limit).await)
        }
    }
}
