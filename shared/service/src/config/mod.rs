//! Configuration: defaults < TOML file < environment < flags, with every mistake told at once.
//!
//! [`Config::load`] is the only way in. It gives a configuration that is whole and consistent for the role that asked, or
//! the list of all that is wrong with it. It reads no global state: the environment is passed in. Reloading while
//! running is left out on purpose; a changed configuration is a restart, and a restart loses nothing.

mod keys;
mod problem;
mod reader;
mod role;
mod rules;
mod secret;
mod sections;
mod show;
mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use keys::Key;
pub use problem::{ConfigErrors, Origin, Problem, ProblemKind};
pub use role::Role;
pub use secret::{MASK, Secret, mask, mask_urls};
pub use sections::{
    Algorithm, Backend, Bus, BusKind, Clients, Compression, Config, EvictionPolicy, FlowName, JournalMode, Limits,
    LogFormat, Memory, Metrics, Nats, Postgres, Redis, Retention, Sampling, Server, Sqlite, Storage, Synchronous,
    Telemetry, Writer,
};
pub use show::{keys, reference};
pub use sources::{PREFIX, SHORT_NAMES, Sources, process_environment, variable_of};

use keys::Section;
use reader::Reader;

use crate::telemetry;

/// A configuration that was found good, with what is known of how it came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Which keys somebody set, and where.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What is allowed but ought to be known; the start logs it.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The effective settings as TOML that loads back, passwords masked.
    pub fn to_toml(&self) -> String {
        show::to_toml(&self.config, &self.origins)
    }
}

/// The variable that says what is logged: not a setting of ours, but told with their mistakes.
const RUST_LOG: &str = "RUST_LOG";

fn unreadable_filter(text: &str) -> Option<Problem> {
    let error = telemetry::filter(Some(text)).err()?;
    Some(Problem {
        kind: ProblemKind::Unreadable,
        origin: Origin::Variable(RUST_LOG.to_owned()),
        key: None,
        what: error.to_string(),
        advice: "write a level, or targets with levels, such as `info,reflow_tracing_session=debug`".to_owned(),
    })
}

impl Config {
    /// Reads, merges and checks the configuration of a program.
    ///
    /// # Errors
    ///
    /// Every mistake that was found, not only the first.
    pub fn load(role: Role, sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let keys: BTreeMap<_, _> = show::keys().into_iter().map(|key| (key.path, key)).collect();
        let mut problems = Vec::new();
        let figment = sources::merge(sources, &keys, &mut problems);
        let mut reader = Reader::new(&figment, &keys, &mut problems);
        let mut config = Self::read(&mut reader);
        let facts = reader.into_facts();
        rules::apply(&mut config, role, &facts, &mut problems);
        problems.extend(
            sources.environment.iter().find(|(name, _)| name == RUST_LOG).and_then(|(_, text)| unreadable_filter(text)),
        );
        if problems.is_empty() {
            let warnings = rules::warnings(&config, role);
            Ok(Loaded { config, origins: facts.origins, warnings })
        } else {
            Err(ConfigErrors(problems))
        }
    }
}
