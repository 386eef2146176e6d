//! Every key of the reference is read by something: one that nothing reads is refused nowhere and does nothing.
//!
//! Looked up in the sources, where settings are always read through the name of their section (`config.limits.max_subscriptions`, or
//! `limits.idle_timeout()`): a run of the programs can show what one key does ([`crate::effects`]), but not that none was forgotten.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::documented::reference;

/// Decides over the key that is named; nothing else reads it.
const RESOLVED: [(&str, &str); 1] = [("storage.sqlite.wal_mode", "storage.sqlite.journal_mode")];

/// Where settings are defined and checked, which is not where they act.
const DEFINED: &str = "shared/service/src/config";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources below a folder, chains of calls in one piece.
fn sources(folder: &Path, found: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "tests" | "target" | "node_modules") && !path.ends_with(DEFINED) {
                sources(&path, found)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path)?;
            let words: Vec<_> = text.split_whitespace().collect();
            found.push_str(&words.join(" ").replace(" .", "."));
        }
    }
    Ok(())
}

/// The field itself, and what its section derives from it.
fn names(sections: &str, field: &str) -> Vec<String> {
    let derived = sections.split("pub fn ").skip(1).filter_map(|text| {
        let (name, rest) = text.split_once('(')?;
        let body = rest.split_once("\n    }\n")?.0;
        reads(body, &format!("self.{field}")).then(|| name.to_owned())
    });
    std::iter::once(field.to_owned()).chain(derived).collect()
}

/// Whether the text has these words, and not as a part of longer ones.
fn reads(text: &str, words: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(words).any(|(at, _)| !text[..at].ends_with(part) && !text[at + words.len()..].starts_with(part))
}

#[test]
fn every_documented_key_is_read() -> Result<()> {
    let mut code = String::new();
    for folder in ["shared", "collector", "writer", "query", "deploy"] {
        sources(&root().join(folder), &mut code)?;
    }
    let mut sections = String::new();
    for entry in std::fs::read_dir(root().join(DEFINED).join("sections"))? {
        sections.push_str(&std::fs::read_to_string(entry?.path())?);
    }
    for row in reference()? {
        let key = RESOLVED.iter().find(|(key, _)| *key == row.key).map_or(row.key.as_str(), |(_, by)| by);
        let mut path = key.rsplit('.');
        let (field, section) = (path.next().context("no name")?, path.next().unwrap_or("config"));
        let read = names(&sections, field)
            .iter()
            .any(|name| [section, "settings"].iter().any(|owner| reads(&code, &format!("{owner}.{name}"))));
        ensure!(read, "nothing reads {}", row.key);
    }
    ensure!(!reads(&code, "writer.slot"), "the search finds what is not there");
    Ok(())
}
