//! The configuration for people: the effective values as TOML, and the reference of all keys as markdown.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    keys::{Key, Section},
    problem::Origin,
    sections::Config,
    sources::variable_of,
};

/// Every key there is, in the order of the reference.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    Config::keys(&mut keys);
    keys
}

/// The effective configuration as TOML that loads back. Passwords are masked; what is not a default says where it is from.
pub(crate) fn to_toml(config: &Config, origins: &BTreeMap<&'static str, Origin>) -> String {
    let mut values = Vec::new();
    config.values(&mut values);
    let mut out = String::new();
    let mut section = "";
    for (path, value) in values {
        let (prefix, name) = path.rsplit_once('.').unwrap_or(("", path));
        if prefix != section {
            section = prefix;
            // Infallible: a String takes all that is written to it.
            let _ = write!(out, "\n[{section}]\n");
        }
        let _ = match value {
            Some(value) => write!(out, "{name} = {value}"),
            None => write!(out, "# {name} is not set"),
        };
        if let Some(origin) = origins.get(path) {
            let _ = write!(out, "  # {}", origin.to_string().escape_debug());
        }
        out.push('\n');
    }
    out
}

/// The reference of all keys, one table a section, for the documentation.
pub fn reference() -> String {
    let mut out = String::new();
    let mut section = None;
    for key in keys() {
        let (prefix, _) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != Some(prefix.to_owned()) {
            let title = if prefix.is_empty() { "Top level".to_owned() } else { format!("`[{prefix}]`") };
            let _ = write!(
                out,
                "\n### {title}\n\n| key and variable | default | what it does | why this default |\n|---|---|---|---|\n"
            );
            section = Some(prefix.to_owned());
        }
        let default = key.default.as_deref().map_or_else(|| "unset".to_owned(), |value| format!("`{value}`"));
        let range = key.range.map_or_else(String::new, |(least, greatest)| format!(" From {least} to {greatest}."));
        let accepts = if key.accepts.contains('`') { format!(" Takes {}.", key.accepts) } else { String::new() };
        let secret = if key.secret { " Never printed with its password." } else { "" };
        let _ = writeln!(
            out,
            "| `{}`<br>`{}` | {default} | {}{accepts}{range}{secret} | {} |",
            key.path,
            variable_of(key.path),
            key.effect.replace('|', "\\|"),
            key.reason.replace('|', "\\|"),
        );
    }
    out.trim_start().to_owned()
}
