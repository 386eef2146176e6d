//! What `docker build` would send: the repository without what `.dockerignore` names.
//!
//! The rules are those of Docker's reference: the last pattern that matches a file, or a folder above it, decides;
//! `!` takes back; `*` stands for anything within a name, `**` for any number of folders.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::build::repository;

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

    /// Whether a pattern takes back something below a folder that is left out.
    fn takes_back_below(&self, folder: &str) -> bool {
        let names: Vec<_> = folder.split('/').collect();
        let begins = |pattern: &[String]| pattern.len() > names.len() && matches(&pattern[..names.len()], &names);
        self.0.iter().any(|(pattern, ignored)| !ignored && begins(pattern))
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
            let left_out = ignored.leaves_out(&name);
            if entry.file_type()?.is_dir() {
                if !left_out || ignored.takes_back_below(&name) {
                    folders.push(path);
                }
            } else if !left_out {
                fs::create_dir_all(to.join(&folder))?;
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
    let ignored = Ignored::parse("*\n!tests/src/lib.rs");
    for (folder, read) in [("tests", true), ("tests/src", true), ("tests/helm", false), ("shared", false)] {
        assert!(ignored.leaves_out(folder) && ignored.takes_back_below(folder) == read, "{folder}");
    }
    assert!(!ignored.leaves_out("tests/src/lib.rs") && ignored.leaves_out("tests/src/other.rs"));
}

/// What cargo says of the workspace's members: a name, a folder, the folders of those it is made of, the files of its targets.
struct Member {
    name: String,
    folder: String,
    made_of: Vec<String>,
    targets: Vec<String>,
}

fn members() -> Result<Vec<Member>> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(repository()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let below = |path: &Value| -> Result<String> {
        let path = Path::new(path.as_str().context("no path")?);
        Ok(path.strip_prefix(repository())?.display().to_string())
    };
    let packages = metadata["packages"].as_array().context("no packages")?.iter();
    let member = |package: &Value| {
        let manifest = below(&package["manifest_path"])?;
        let needed = package["dependencies"].as_array().into_iter().flatten();
        let ours = needed.filter(|needed| needed["path"].is_string() && needed["kind"] != "dev");
        let targets = package["targets"].as_array().into_iter().flatten();
        Ok(Member {
            name: package["name"].as_str().context("no name")?.to_owned(),
            folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
            made_of: ours.map(|needed| below(&needed["path"])).collect::<Result<_>>()?,
            targets: targets.map(|target| below(&target["src_path"])).collect::<Result<_>>()?,
        })
    };
    packages.map(member).collect()
}

#[test]
fn the_context_holds_what_executables_are_made_of_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = copy(repository(), folder.path())?;
    let members = members()?;

    let manifests: BTreeSet<_> = files.iter().filter(|file| file.contains("Cargo.")).cloned().collect();
    let wanted = members.iter().map(|member| format!("{}/Cargo.toml", member.folder));
    let wanted: BTreeSet<_> = wanted.chain(["Cargo.lock".to_owned(), "Cargo.toml".to_owned()]).collect();
    ensure!(manifests == wanted, "{:?}", manifests.symmetric_difference(&wanted));

    // The folders of what the Dockerfile builds, and of what that is made of.
    let dockerfile = fs::read_to_string(repository().join("deploy/Dockerfile"))?;
    let words: BTreeSet<_> = dockerfile.split_whitespace().collect();
    let (mut next, mut needed) = (Vec::new(), BTreeSet::new());
    next.extend(members.iter().filter(|member| words.contains(&*member.name)).map(|member| member.folder.clone()));
    ensure!(next.len() == 6, "the Dockerfile builds {next:?}");
    while let Some(folder) = next.pop() {
        let member = members.iter().find(|member| member.folder == folder).context(folder.clone())?;
        next.extend(member.made_of.iter().filter(|folder| !needed.contains(*folder)).cloned());
        let root = member.targets.iter().find(|target| target.contains("/src/")).context("nothing to build")?;
        ensure!(files.contains(root), "{root} is missing");
        needed.insert(folder);
    }
    let source = |file: &str| {
        needed.iter().filter_map(|folder| file.strip_prefix(&**folder)).any(|rest| {
            (rest.starts_with("/src/") && file.ends_with(".rs"))
                || (rest.starts_with("/migrations/") && file.ends_with(".sql"))
        })
    };
    // Of a member that nothing is made of, and of tests, cargo wants to see the files that manifests speak of.
    let named: BTreeSet<_> = members.iter().flat_map(|member| &member.targets).collect();
    let odd: Vec<_> =
        files.iter().filter(|file| !manifests.contains(*file) && !source(file) && !named.contains(file)).collect();
    ensure!(odd.is_empty(), "no build needs {odd:?}");
    Ok(())
}

/// docker-compose brings along an implementation of Docker's rules that is not ours.
#[test]
fn docker_compose_would_send_the_same() -> Result<()> {
    let program = "import os\nfrom docker.utils.build import exclude_paths\n\
        lines = [line.strip() for line in open('.dockerignore')]\n\
        patterns = [line for line in lines if line and line[0] != '#']\n\
        kept = exclude_paths('.', patterns, dockerfile='deploy/Dockerfile')\n\
        print('\\n'.join(path for path in kept if os.path.isfile(path)))";
    let output = Command::new("/usr/bin/python3").args(["-c", program]).current_dir(repository()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sent = String::from_utf8(output.stdout)?;
    // An engine gets these two as well, whatever is ignored, and leaves them out of what is copied.
    let sent: BTreeSet<_> =
        sent.lines().filter(|file| ![".dockerignore", "deploy/Dockerfile"].contains(file)).collect();
    let folder = tempfile::tempdir()?;
    let files = copy(repository(), folder.path())?;
    let files: BTreeSet<_> = files.iter().map(String::as_str).collect();
    ensure!(sent == files, "{:?}", sent.symmetric_difference(&files));
    Ok(())
}
