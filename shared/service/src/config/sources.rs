//! Where configuration comes from: file, environment, flags; each turned into a figment layer that knows its origin.
//!
//! Nothing here reads the process's environment except [`process_environment`], which `main` calls: a test passes the
//! variables it wants. Unknown keys are refused here, while it is still known who wrote them, and taken out of the layer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};

use super::{
    keys::{Key, quoted},
    problem::{Origin, Problem, ProblemKind, nearest},
};

/// What every variable of ours begins with.
pub const PREFIX: &str = "REFLOW_TRACING_";

/// Variables with a short name. Every other key has the long one, see [`variable_of`].
pub const SHORT_NAMES: [(&str, &str); 8] = [
    ("REFLOW_TRACING_HOST", "server.host"),
    ("REFLOW_TRACING_PORT", "server.port"),
    ("REFLOW_TRACING_STORAGE_BACKEND", "storage.backend"),
    ("REFLOW_TRACING_SQLITE_PATH", "storage.sqlite.database_path"),
    ("REFLOW_TRACING_POSTGRES_URL", "storage.postgres.connection_url"),
    ("REFLOW_TRACING_NATS_URL", "bus.nats.url"),
    ("REFLOW_TRACING_REDIS_URL", "redis.url"),
    ("REFLOW_TRACING_METRICS_PORT", "metrics.port"),
];

const CONFIG_FILE: &str = "REFLOW_TRACING_CONFIG_FILE";
const CONFIG: &str = "REFLOW_TRACING_CONFIG";

/// Variables that clients read. A server beside its client in one shell sees them too and must not mind.
const CLIENT_VARIABLES: [&str; 11] = [
    "REFLOW_TRACING_BATCHES_IN_FLIGHT",
    "REFLOW_TRACING_BUFFER_BYTES",
    "REFLOW_TRACING_BUFFER_FULL",
    "REFLOW_TRACING_CAPTURE_CONTENT",
    "REFLOW_TRACING_CODEC",
    "REFLOW_TRACING_CODEC_LEVEL",
    "REFLOW_TRACING_FLOW_NAME",
    "REFLOW_TRACING_SAMPLING",
    "REFLOW_TRACING_SPOOL",
    "REFLOW_TRACING_SPOOL_BYTES",
    "REFLOW_TRACING_TOKEN",
];

/// Sections that somebody may have in a file, and what there is instead.
const RETIRED: [(&str, &str); 4] = [
    ("storage.mongodb", "MongoDB is not a backend; use `memory`, `sqlite` or `postgres`"),
    ("otlp", "traces are not exported yet; `telemetry.otlp_endpoint` exports this service's own spans"),
    ("export", "traces are not exported yet; `telemetry.otlp_endpoint` exports this service's own spans"),
    (
        "auth",
        "there is no authentication yet: leave the section out, and keep the port where only those can reach it who may",
    ),
];

/// All that a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; it goes before the one named by `REFLOW_TRACING_CONFIG_FILE`.
    pub file: Option<PathBuf>,
    /// The environment, names and values.
    pub environment: Vec<(String, String)>,
    /// Flags: how the flag is called, the dotted key it sets, and the value.
    pub flags: Vec<(String, String, String)>,
}

/// The process's environment. What is not UTF-8 is replaced, not refused: most of it is not ours.
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The variable that sets a key.
pub fn variable_of(path: &str) -> String {
    match SHORT_NAMES.iter().find(|(_, key)| *key == path) {
        Some((name, _)) => (*name).to_owned(),
        None => long_variable_of(path),
    }
}

fn long_variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

/// Merges all sources, the later over the earlier: file, environment, flags. Defaults lie beneath, in the sections.
pub(crate) fn merge(sources: &Sources, keys: &BTreeMap<&'static str, Key>, problems: &mut Vec<Problem>) -> Figment {
    let mut gather = Gather { keys, sections: sections_of(keys), problems };
    let variable = |wanted: &str| sources.environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
    let mut layers = Vec::new();
    let file = match (&sources.file, variable(CONFIG_FILE)) {
        (Some(path), _) => Some((path.clone(), Origin::Flag("--config".to_owned()))),
        (None, Some((name, path))) => Some((PathBuf::from(path), Origin::Variable(name.clone()))),
        (None, None) => None,
    };
    if let Some((path, named_by)) = file {
        layers.extend(gather.file(&path, named_by));
    }
    if let Some((_, json)) = variable(CONFIG) {
        layers.extend(gather.json(json));
    }
    layers.extend(gather.environment(&sources.environment));
    layers.extend(gather.flags(&sources.flags));
    layers.into_iter().fold(Figment::new(), Figment::merge)
}

/// Reads the origin back from what figment keeps with a value.
pub(crate) fn origin_of(metadata: &Metadata) -> Origin {
    match (&metadata.source, &*metadata.name) {
        (Some(Source::File(path)), _) => Origin::File(path.clone()),
        (Some(Source::Custom(name)), "flag") => Origin::Flag(name.clone()),
        (Some(Source::Custom(name)), _) => Origin::Variable(name.clone()),
        _ => Origin::Whole,
    }
}

/// Whether a place knows only text, so that `"1"` is a number there.
pub(crate) fn is_text(origin: &Origin) -> bool {
    match origin {
        Origin::Variable(name) => name != CONFIG,
        Origin::Flag(_) => true,
        Origin::File(_) | Origin::Whole => false,
    }
}

struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.origin {
            Origin::File(path) => Metadata::from("file", path.as_path()),
            Origin::Flag(flag) => Metadata::from("flag", flag.clone()),
            Origin::Variable(name) => Metadata::from("variable", name.clone()),
            Origin::Whole => Metadata::named("configuration"),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

struct Gather<'a> {
    keys: &'a BTreeMap<&'static str, Key>,
    sections: BTreeSet<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl Gather<'_> {
    fn problem(&mut self, kind: ProblemKind, origin: &Origin, what: String, advice: impl Into<String>) {
        self.problems.push(Problem { kind, origin: origin.clone(), key: None, what, advice: advice.into() });
    }

    fn file(&mut self, path: &Path, named_by: Origin) -> Option<Layer> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                self.problem(ProblemKind::Unreadable, &named_by, what, "name a readable TOML file");
                return None;
            }
        };
        let origin = Origin::File(path.to_owned());
        match toml::from_str::<toml::Table>(&text) {
            Ok(table) => {
                let values = table.into_iter().map(|(key, value)| (key, from_toml(value))).collect();
                Some(self.layer(origin, values))
            }
            Err(error) => {
                // Not the error's own text: that repeats the line, and the line may hold a password.
                let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
                let what =
                    format!("line {line} is not valid TOML: {}", error.message().lines().next().unwrap_or_default());
                self.problem(ProblemKind::Unreadable, &origin, what, "correct the line");
                None
            }
        }
    }

    fn json(&mut self, json: &str) -> Option<Layer> {
        let origin = Origin::Variable(CONFIG.to_owned());
        let advice = "give the whole configuration as one JSON object";
        match serde_json::from_str::<serde_json::Value>(json) {
            Ok(serde_json::Value::Object(object)) => {
                let values = object.into_iter().map(|(key, value)| (key, from_json(value))).collect();
                Some(self.layer(origin, values))
            }
            Ok(_) => {
                self.problem(ProblemKind::WrongType, &origin, "not a JSON object".to_owned(), advice);
                None
            }
            Err(error) => {
                self.problem(ProblemKind::Unreadable, &origin, format!("not valid JSON: {error}"), advice);
                None
            }
        }
    }

    fn environment(&mut self, environment: &[(String, String)]) -> Vec<Layer> {
        let mut given = Vec::new();
        // Sorted, so that mistakes come in the same order every time.
        let sorted: BTreeMap<_, _> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (name, value) in sorted {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let special = [CONFIG, CONFIG_FILE].contains(&name) || CLIENT_VARIABLES.contains(&name);
            // Empty is unset: that is what `${VARIABLE:-}` in a compose file gives.
            if special || value.is_empty() {
                continue;
            }
            let short = SHORT_NAMES.iter().find(|(short, _)| *short == name).map(|(_, path)| (*path).to_owned());
            if short.is_none() && is_service_link(rest, value) {
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let path = short.unwrap_or_else(|| rest.to_ascii_lowercase().replace("__", "."));
            if self.keys.contains_key(path.as_str()) {
                given.push((origin, path, value.to_owned()));
            } else {
                let names: Vec<String> = self.variables();
                let near = nearest(name, names.iter().map(String::as_str), "__").unwrap_or_default();
                let what = format!("there is no setting `{name}`");
                self.problem(ProblemKind::UnknownKey, &origin, what, format!("did you mean `{near}`?"));
            }
        }
        self.singles(given)
    }

    fn flags(&mut self, flags: &[(String, String, String)]) -> Vec<Layer> {
        let mut given = Vec::new();
        for (flag, path, value) in flags {
            let origin = Origin::Flag(flag.clone());
            if self.keys.contains_key(path.as_str()) {
                given.push((origin, path.clone(), value.clone()));
            } else {
                self.unknown(&origin, path);
            }
        }
        self.singles(given)
    }

    /// One layer a value. The same key given twice on one level has no winner, so it is refused.
    fn singles(&mut self, given: Vec<(Origin, String, String)>) -> Vec<Layer> {
        let mut seen: BTreeMap<String, (Origin, String)> = BTreeMap::new();
        for (origin, path, value) in given {
            match seen.get(&path) {
                Some((first, other)) if *other != value => {
                    let what = format!("`{path}` is given a different value by {first}");
                    self.problem(ProblemKind::Contradiction, &origin, what, "keep one of the two");
                }
                Some(_) => {}
                None => {
                    seen.insert(path, (origin, value));
                }
            }
        }
        seen.into_iter()
            .map(|(path, (origin, value))| {
                let nested = figment::util::nest(&path, Value::from(value));
                Layer { origin, values: nested.into_dict().unwrap_or_default() }
            })
            .collect()
    }

    fn layer(&mut self, origin: Origin, values: Dict) -> Layer {
        let values = self.screen("", values, &origin);
        Layer { origin, values }
    }

    /// Keeps what is known and refuses the rest.
    fn screen(&mut self, prefix: &str, values: Dict, origin: &Origin) -> Dict {
        let mut kept = Dict::new();
        for (name, value) in values {
            let path = format!("{prefix}{name}");
            match value {
                // `"server.port"` as one name would lie beside the section, where nobody looks.
                _ if name.contains('.') => {
                    let what = format!("`{path}` is given as one name, with a dot in it");
                    self.problem(
                        ProblemKind::UnknownKey,
                        origin,
                        what,
                        "write it nested: the section, and in it the key",
                    );
                }
                // JSON's null is unset.
                Value::Empty(..) if self.is_known(&path) => {}
                Value::Dict(tag, inner) if self.sections.contains(path.as_str()) => {
                    let inner = self.screen(&format!("{path}."), inner, origin);
                    kept.insert(name, Value::Dict(tag, inner));
                }
                value if self.keys.contains_key(path.as_str()) => {
                    kept.insert(name, value);
                }
                value if self.sections.contains(path.as_str()) => {
                    let what = format!("`{path}` is a section, not {}", quoted(&value));
                    self.problem(ProblemKind::WrongType, origin, what, format!("put its keys under `[{path}]`"));
                }
                _ => self.unknown(origin, &path),
            }
        }
        kept
    }

    fn is_known(&self, path: &str) -> bool {
        self.keys.contains_key(path) || self.sections.contains(path)
    }

    fn unknown(&mut self, origin: &Origin, path: &str) {
        let advice = match RETIRED.iter().find(|(gone, _)| path == *gone || path.starts_with(&format!("{gone}."))) {
            Some((_, instead)) => (*instead).to_owned(),
            None => {
                let known = self.keys.keys().copied().chain(self.sections.iter().copied());
                format!("did you mean `{}`?", nearest(path, known, ".").unwrap_or_default())
            }
        };
        self.problems.push(Problem {
            kind: ProblemKind::UnknownKey,
            origin: origin.clone(),
            key: Some(path.to_owned()),
            what: format!("there is no setting `{path}`"),
            advice,
        });
    }

    fn variables(&self) -> Vec<String> {
        let short = SHORT_NAMES.iter().map(|(name, _)| (*name).to_owned());
        let special = [CONFIG, CONFIG_FILE].map(str::to_owned);
        short.chain(special).chain(self.keys.keys().map(|path| long_variable_of(path))).collect()
    }
}

fn sections_of(keys: &BTreeMap<&'static str, Key>) -> BTreeSet<&'static str> {
    keys.keys().flat_map(|path| path.match_indices('.').map(|(at, _)| &path[..at])).collect()
}

/// What Kubernetes puts into pods beside Services whose names begin like ours (`reflow-tracing-query`). Only a name that
/// is also a setting of ours has to be refused; the others are nobody's mistake.
fn is_service_link(rest: &str, value: &str) -> bool {
    let numbered = rest.split_once("PORT_").is_some_and(|(_, tail)| {
        tail.starts_with(|c: char| c.is_ascii_digit()) && (tail.contains("_TCP") || tail.contains("_UDP"))
    });
    let address = value.starts_with("tcp://") || value.starts_with("udp://");
    numbered || rest.ends_with("SERVICE_HOST") || rest.contains("SERVICE_PORT") || (rest.ends_with("_PORT") && address)
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(s) => s.into(),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(n) => n.into(),
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(d) => d.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(from_toml).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => table.into_iter().map(|(k, v)| (k, from_toml(v))).collect::<Dict>().into(),
    }
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => figment::value::Empty::None.into(),
        serde_json::Value::Bool(b) => b.into(),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), ..) => n.into(),
            (_, Some(n), _) => n.into(),
            (.., n) => n.unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(s) => s.into(),
        serde_json::Value::Array(values) => values.into_iter().map(from_json).collect::<Vec<_>>().into(),
        serde_json::Value::Object(map) => map.into_iter().map(|(k, v)| (k, from_json(v))).collect::<Dict>().into(),
    }
}
