//! What to run: sections by name, and how long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The sections, in the order they run.
pub const SECTIONS: [&str; 8] = ["parts", "sqlite", "nats", "v1", "live", "storage", "idle", "queries"];

const HELP: &str = "\
cargo bench -p reflow-tracing-tests --bench pipeline [-- [SECTION]... [OPTIONS]]

sections (all by default): parts sqlite nats v1 live storage idle queries
  --small        a tenth of the dataset of the goals for `queries` (10M events, 100k traces, 1k flows)
  --smoke        everything, as short as it runs at all: figures mean nothing
  --seconds N    how long each part and each path is measured (2 and 10 by default)
  --json FILE    the figures as JSON as well
A path's bound needs the parts in the same run: `-- parts sqlite`.";

/// The command line.
#[derive(Clone, Debug)]
pub struct Options {
    pub sections: Vec<String>,
    pub small: bool,
    pub smoke: bool,
    pub json: Option<PathBuf>,
    seconds: Option<f64>,
}

impl Options {
    /// Reads the command line; `None` when there is nothing to run.
    pub fn read(args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self { sections: Vec::new(), small: false, smoke: false, json: None, seconds: None };
        let mut args = args.peekable();
        // `cargo test --all-targets` runs a benchmark without any argument: nothing to test here.
        if args.peek().is_none() {
            return Ok(None);
        }
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // What cargo itself says.
                "--bench" => {}
                "--help" | "-h" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                "--small" => options.small = true,
                "--smoke" => options.smoke = true,
                "--json" => options.json = Some(args.next().context("--json needs a file")?.into()),
                "--seconds" => options.seconds = Some(args.next().context("--seconds needs a number")?.parse()?),
                name if SECTIONS.contains(&name) => options.sections.push(arg),
                other => bail!("unknown argument {other}\n{HELP}"),
            }
        }
        Ok(Some(options))
    }

    /// Whether a section is to run.
    pub fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|name| name == section)
    }

    /// How long a part is measured.
    pub fn part_time(&self) -> Duration {
        self.time(2.0, 0.05)
    }

    /// How long a path is measured.
    pub fn path_time(&self) -> Duration {
        self.time(10.0, 0.5)
    }

    /// `usual`, or `smoke` when only trying.
    pub fn pick<T>(&self, usual: T, smoke: T) -> T {
        if self.smoke { smoke } else { usual }
    }

    fn time(&self, usual: f64, smoke: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(self.pick(usual, smoke)))
    }
}
