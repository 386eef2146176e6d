//! The cache of an engine: what a stage has made is used again while its steps and what they copy are the same.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::executable::executable;

/// Names and contents, and no times: an engine leaves those out as well.
#[derive(Default)]
pub struct Digest(DefaultHasher);

impl Digest {
    /// A word of a step.
    pub fn word(&mut self, word: &str) {
        self.0.write(word.as_bytes());
        self.0.write_u8(0);
    }

    /// A file, or a folder with all that is in it.
    pub fn tree(&mut self, path: &Path) -> Result<()> {
        if !path.is_dir() {
            self.word(&path.file_name().unwrap_or_default().to_string_lossy());
            self.0.write(&fs::read(path).with_context(|| path.display().to_string())?);
            return Ok(());
        }
        let mut entries: Vec<_> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        entries.sort();
        for entry in entries {
            self.word(&entry.file_name().unwrap_or_default().to_string_lossy());
            self.tree(&entry)?;
        }
        // So that a file at the end of this folder is not one behind it.
        self.word("");
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0.finish())
    }
}

/// Where layers outlive a test, so that only the first one builds every dependency: beside what cargo builds.
pub fn folder() -> Result<PathBuf> {
    let executables = executable("reflow-tracing")?;
    let target = executables.parent().and_then(Path::parent).context("the executables lie in a target folder")?;
    Ok(target.join("layers"))
}

/// Keeps what a stage has made, in place of what the same stage made of something else.
pub fn keep(made: &Path, kept: &Path) -> Result<()> {
    let folder = kept.parent().context("a layer lies in a folder")?;
    let name = kept.file_name().unwrap_or_default().to_string_lossy();
    let (stage, _) = name.rsplit_once('-').context("a layer has a digest")?;
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().rsplit_once('-').is_some_and(|(older, _)| older == stage) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    // Whole or not at all.
    let copy = tempfile::tempdir_in(folder)?;
    let status = Command::new("mv").arg(made).arg(copy.path().join("layer")).status()?;
    ensure!(status.success(), "cannot keep {}", made.display());
    fs::rename(copy.path().join("layer"), kept).with_context(|| kept.display().to_string())
}
