//! Takes values out of the merged layers, key by key, and collects what is wrong with them.
//!
//! A key with a mistake gets its default, so that reading goes on and the next mistakes are found as well; nobody ever
//! sees such a configuration, because the mistake makes the whole load fail.

use std::collections::{BTreeMap, BTreeSet};

use figment::Figment;

use super::{
    keys::{Key, Setting, quoted},
    problem::{Origin, Problem, ProblemKind},
    sources,
};

/// What is known of how the keys were given: rules need it, because a default never contradicts anything.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Keys that somebody set, and where.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Keys whose value was refused.
    pub bad: BTreeSet<&'static str>,
}

impl Facts {
    /// Where a key was set, if it was.
    pub fn explicit(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// Whether all these keys hold what was meant; a rule about a refused value would only add noise.
    pub fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| !self.bad.contains(key))
    }
}

/// Reads keys from the merged layers.
pub(crate) struct Reader<'a> {
    figment: &'a Figment,
    keys: &'a BTreeMap<&'static str, Key>,
    problems: &'a mut Vec<Problem>,
    facts: Facts,
}

impl<'a> Reader<'a> {
    pub fn new(figment: &'a Figment, keys: &'a BTreeMap<&'static str, Key>, problems: &'a mut Vec<Problem>) -> Self {
        Self { figment, keys, problems, facts: Facts::default() }
    }

    /// What was learnt while reading.
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// The value of a key, or its default where it is not set or wrong.
    pub fn get<T: Setting>(&mut self, path: &'static str, default: T) -> T {
        let Ok(value) = self.figment.find_value(path) else { return default };
        let origin = self.figment.get_metadata(value.tag()).map_or(Origin::Whole, sources::origin_of);
        self.facts.origins.insert(path, origin.clone());
        let range = self.keys.get(path).and_then(|key| key.range);
        let text = sources::is_text(&origin);
        let (kind, read) = match T::read(&value, text) {
            Some(read) if in_range(T::number(&value, text), range) => return read,
            Some(_) => (ProblemKind::OutOfRange, true),
            None => (ProblemKind::WrongType, false),
        };
        let mut expected = T::accepts();
        if let Some((least, greatest)) = range {
            expected.push_str(&format!(" from {least} to {greatest}"));
        }
        let shown = if T::SECRET { String::new() } else { format!(", not {}", quoted(&value)) };
        let advice = if value.as_str().is_some_and(|s| s.starts_with("tcp://") || s.starts_with("udp://")) {
            "Kubernetes puts this variable into pods beside a Service of that name: set `enableServiceLinks: false` in the \
             pod's spec"
                .to_owned()
        } else if !read && !text && value.as_str().is_some() && T::accepts().contains("number") {
            "write the number without quotation marks".to_owned()
        } else {
            "correct it, or leave it out for the default".to_owned()
        };
        self.facts.bad.insert(path);
        self.problems.push(Problem {
            kind,
            origin,
            key: Some(path.to_owned()),
            what: format!("`{path}` must be {expected}{shown}"),
            advice,
        });
        default
    }
}

fn in_range(number: Option<i128>, range: Option<(i128, i128)>) -> bool {
    match (number, range) {
        (Some(number), Some((least, greatest))) => (least..=greatest).contains(&number),
        _ => true,
    }
}
