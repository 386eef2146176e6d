//! What `docker build` would send: the repository without what `.dockerignore` names.
//!
//! The rules are those of Docker's reference: the last pattern that matches a file, or a folder above it, decides;
//! `!` takes back; `*` stands for anything within a name, `**` for any number of folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The patterns of a `.dockerignore`.
#[derive(Debug)]
pub struct Ignored(Vec<(Vec<String>, bool)>);

impl Ignored {
    /// Reads the patterns, blank lines and comments left out.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| {
                    let (pattern, ignored) = line.strip_prefix('!').map_or((line, true), |pattern| (pattern, false));
                    (pattern.trim_matches('/').split('/').map(str::to_owned).collect(), ignored)
                })
                .collect(),
        )
    }

    /// Whether a path below the context, or a folder above it, is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        let names: Vec<_> = path.split('/').collect();
        let above = |pattern: &[String]| (1..=names.len()).any(|length| matches(pattern, &names[..length]));
        self.0.iter().rev().find(|(pattern, _)| above(pattern)).is_some_and(|(_, ignored)| *ignored)
    }
}

fn matches(pattern: &[String], names: &[&str]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => (0..=names.len()).any(|skipped| matches(rest, &names[skipped..])),
        (Some((first, rest)), Some((name, names))) => name_matches(first, name) && matches(rest, names),
        _ => false,
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| name_matches(tail, &rest[at..]))
        }),
    }
}

/// Copies the context into a new folder. Says which files it holds, relative to the repository.
pub fn copy(repository: &Path, to: &Path) -> Result<Vec<String>> {
    let ignored = Ignored::parse(&fs::read_to_string(repository.join(".dockerignore"))?);
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository.join(&folder)).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = path.to_string_lossy().into_owned();
            // No pattern here takes back a part of a folder that is left out, so that nothing below it need be read.
            if ignored.leaves_out(&name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::create_dir_all(to.join(&path))?;
                folders.push(path);
            } else {
                fs::copy(entry.path(), to.join(&path)).with_context(|| name.clone())?;
                files.push(name);
            }
        }
    }
    Ok(files)
}

#[test]
fn the_last_pattern_that_matches_a_file_or_a_folder_above_it_decides() {
    let ignored = Ignored::parse("# all\n*\n!shared\n\n**/target\n*/x?*.md\nshared/*.md\n!shared/a.md\n");
    for (path, out) in [
        ("README.md", true),
        (".git/config", true),
        ("shared", false),
        ("shared/bus/src/lib.rs", false),
        ("shared/bus/target/debug/x", true),
        ("target", true),
        ("shared/b.md", true),
        ("shared/a.md", false),
        ("shared/bus/b.md", false),
    ] {
        assert_eq!(ignored.leaves_out(path), out, "{path}");
    }
}
