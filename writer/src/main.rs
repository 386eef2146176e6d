//! `reflow-writer`: configuration, logs, admin port, store and bus, writing; see `run.rs` for the order. Three jobs beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reflow_tracing_service::{CommonArgs, Role, arguments, run, run_job};
use reflow_tracing_store::Migrated;
use reflow_tracing_writer::{backup, dead_letters, migrate, start};

/// Takes chunks of events from the bus and commits them to the store.
#[derive(Debug, Parser)]
#[command(name = "reflow-writer", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    job: Option<Job>,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Apply the migrations of the store and stop. A writer does so by itself when it starts.
    Migrate {
        #[command(flatten)]
        common: CommonArgs,
    },
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
        None => run(Role::Writer, &args.common, start),
        Some(Job::Migrate { common }) => run_job(Role::StoreJob, &common, async |config| {
            println!("{}", told(&migrate(config).await?));
            Ok(())
        }),
        Some(Job::Backup { common, file }) => run_job(Role::StoreJob, &common, async |config| {
            println!("{} bytes copied into {}", backup(config, &file).await?, file.display());
            Ok(())
        }),
        Some(Job::DeadLetters { common, limit }) => {
            run_job(Role::Writer, &common, async |config| dead_letters::print(config, limit).await)
        }
    }
}

fn told(migrated: &Migrated) -> String {
    let Migrated { applied, schema, build } = migrated;
    match applied.is_empty() {
        false => format!("migrations applied: {applied:?}; the schema has version {schema} now"),
        true if schema > build => {
            format!("the schema has version {schema}, of a newer build; this build, of version {build}, works with it")
        }
        true => format!("the store has the newest schema already, version {schema}"),
    }
}
