//! What can be wrong with the configuration, and where it came from.
//!
//! Mistakes are collected, not returned one by one: somebody who fixes a deployment wants the whole list. Each says where
//! it stands, what is wrong and what to do. A bad value is quoted only through [`quote`], which masks passwords.

use std::{fmt, path::PathBuf};

use super::secret;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A TOML file.
    File(PathBuf),
    /// An environment variable, by its name.
    Variable(String),
    /// A command line flag, as it was written, without its value.
    Flag(String),
    /// No single place: the settings as a whole.
    Whole,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Whole => f.write_str("configuration"),
        }
    }
}

/// Of which kind a mistake is. Tests and callers match this, not the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A file could not be read, or is not TOML; the JSON is not JSON; a flag lacks its `=`.
    Unreadable,
    /// A key or variable that does not exist.
    UnknownKey,
    /// Not the type that the key takes.
    WrongType,
    /// The right type, but not within its range or form.
    OutOfRange,
    /// Two settings that cannot both hold.
    Contradiction,
    /// Something this program cannot run without.
    Missing,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of which kind it is.
    pub kind: ProblemKind,
    /// Where it stands.
    pub origin: Origin,
    /// The dotted key, where one is meant.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.origin, self.what, self.advice)
    }
}

/// Every mistake that was found, never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {} in the configuration:", if count == 1 { "mistake" } else { "mistakes" })?;
        for problem in &self.0 {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

/// A bad value as it may be shown: passwords masked, length bounded.
pub(crate) fn quote(value: &str) -> String {
    const LONGEST: usize = 80;
    let masked = if value.contains("://") { secret::mask_urls(value) } else { value.to_owned() };
    let mut shown: String = masked.chars().take(LONGEST).collect();
    if shown.len() < masked.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}

/// The candidate nearest to what was written. `last` gives the last part of a name: a key written in the wrong section
/// is nearer to the same key elsewhere than to a neighbour that happens to have as many letters.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
    separator: &str,
) -> Option<&'a str> {
    let last = |name: &str| name.rsplit(separator).next().unwrap_or_default().to_owned();
    let own_last = last(written);
    candidates.min_by_key(|candidate| {
        let whole = strsim::osa_distance(written, candidate);
        if last(candidate) == own_last { whole.min(2) } else { whole }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_misplaced_keys() {
        let keys = ["server.port", "server.host", "metrics.port", "limits.max_frame_bytes", "tenant"];
        for (written, expected) in [
            ("server.prot", "server.port"),
            ("sever.port", "server.port"),
            ("max_frame_bytes", "limits.max_frame_bytes"),
            ("tennant", "tenant"),
            ("server.max_frame_bytes", "limits.max_frame_bytes"),
        ] {
            assert_eq!(nearest(written, keys.into_iter(), "."), Some(expected), "{written}");
        }
    }

    #[test]
    fn quoted_values_are_masked_and_bounded() {
        assert_eq!(quote("postgres://u:hunter2@db/x"), "`postgres://u:***@db/x`");
        assert!(quote(&"x".repeat(1_000)).chars().count() < 90);
    }
}
