//! The flags that all four programs share, and the answers that need no running service.
//!
//! Values stay text here: the configuration judges them, so that a bad flag and a bad file are told together.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::{
    config::{
        Config, ConfigErrors, Loaded, Origin, Problem, ProblemKind, Role, Sources, mask_urls, process_environment,
    },
    exit::Exit,
    health,
};

/// Flags common to all programs; flatten them into the program's own.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML). Otherwise the one named by REFLOW_TRACING_CONFIG_FILE, if any.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on (server.host).
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Port to listen on (server.port); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Port of /metrics, /healthz and /readyz (metrics.port); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<String>,
    /// Any setting by its dotted key, such as limits.max_subscriptions=4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Check the configuration and stop.
    #[arg(long)]
    pub check_config: bool,
    /// Print the effective configuration as TOML, passwords masked, and stop.
    #[arg(long)]
    pub print_config: bool,
    /// Ask the running service on this host whether it is ready: exit code 0 or 1.
    #[arg(long)]
    pub health: bool,
}

impl CommonArgs {
    /// Loads the configuration that these flags and the given environment describe.
    ///
    /// # Errors
    ///
    /// Every mistake in flags, file and environment.
    pub fn load(&self, role: Role, environment: Vec<(String, String)>) -> Result<Loaded, ConfigErrors> {
        let (flags, mut problems) = self.flags();
        let sources = Sources { file: self.config.clone(), environment, flags };
        match Config::load(role, &sources) {
            Ok(loaded) if problems.is_empty() => Ok(loaded),
            Ok(_) => Err(ConfigErrors(problems)),
            Err(ConfigErrors(more)) => {
                problems.extend(more);
                Err(ConfigErrors(problems))
            }
        }
    }

    /// Does what `--check-config`, `--print-config` or `--health` ask, if one of them is given, and otherwise gives the
    /// configuration to start with.
    ///
    /// # Errors
    ///
    /// How the program ends at once.
    pub fn prepare(&self, role: Role) -> Result<Loaded, Exit> {
        let loaded = self.load(role, process_environment()).map_err(|errors| {
            eprintln!("{errors}");
            Exit::Usage
        })?;
        if self.print_config {
            print!("{}", loaded.to_toml());
        }
        if self.check_config {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            eprintln!("the configuration of {role} is good");
        }
        if self.health {
            return Err(health::ask(&loaded.config));
        }
        if self.print_config || self.check_config {
            return Err(Exit::Clean);
        }
        Ok(loaded)
    }

    fn flags(&self) -> (Vec<(String, String, String)>, Vec<Problem>) {
        let mut problems = Vec::new();
        let named = [
            ("--host", "server.host", &self.host),
            ("--port", "server.port", &self.port),
            ("--metrics-port", "metrics.port", &self.metrics_port),
        ];
        let mut flags: Vec<_> = named
            .into_iter()
            .filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value.clone()?)))
            .collect();
        for (at, pair) in self.set.iter().enumerate() {
            match pair.split_once('=').map(|(key, value)| (key.trim(), value)) {
                Some((key, value)) if key.chars().all(is_of_keys) => {
                    flags.push((format!("--set {key}"), key.to_owned(), value.to_owned()));
                }
                // Not quoted: what stands there may be a password.
                _ => problems.push(Problem {
                    kind: ProblemKind::Unreadable,
                    origin: Origin::Flag("--set".to_owned()),
                    key: None,
                    what: format!("number {} does not begin with a key and `=`", at + 1),
                    advice: "write --set key=value, such as --set limits.max_subscriptions=4".to_owned(),
                }),
            }
        }
        (flags, problems)
    }
}

fn is_of_keys(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The program's arguments. Who gets them wrong is told, without the passwords that may stand among them, and the program ends.
pub fn arguments<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            // Help and version, as they were asked for.
            error.exit();
        }
        eprint!("{}", mask_urls(&error.render().to_string()));
        std::process::exit(error.exit_code());
    })
}
