//! The program of `tests/compat`, unchanged, with our client in place of the published one: against our server in v2, and in v1 against a
//! stand-in for the published server.

mod macros;
mod published;
mod service;

use anyhow::{Result, ensure};
use reflow_tracing_tests::{
    Process,
    executable::executable,
    network::{Counts, expected},
    patience,
    process::Spec,
};
use tempfile::TempDir;

/// The program's lock file: like that of every program it names the published version, and a patch of another would not be used.
const LOCK_FILE: &str = include_str!("../../../compat/Cargo.lock");
const OUR_MANIFEST: &str = include_str!("../../../../shared/protocol/Cargo.toml");

/// How many messages the network passes.
const MESSAGES: usize = 300;

/// Runs the program to its end.
async fn run(server_url: &str) -> Result<()> {
    let folder: TempDir = tempfile::tempdir()?;
    let program = Spec::new(executable("dropin-program")?, folder.path()).args([server_url, &MESSAGES.to_string()]);
    let mut process = Process::spawn(&program)?;
    let status = process.exit(patience()).await?;
    ensure!(status.success(), "the program ended with {status}\n{}", process.tail());
    Ok(())
}

/// Everything the network did is there. The program ends when the last message has reached the sink, which connection and sink tell
/// only afterwards: of that message alone events may be missing.
fn is_complete(told: &Counts) -> Result<()> {
    let done = expected(MESSAGES);
    ensure!(told.keys().eq(done.keys()), "other things were told: {told:?}");
    for (what, count) in &done {
        let slack = usize::from(*count == MESSAGES);
        ensure!((count - slack..=*count).contains(&told[what]), "{what}: {} of {count}", told[what]);
    }
    Ok(())
}

#[test]
fn the_patch_fits_into_lock_files_that_exist() {
    let locked = LOCK_FILE.split("[[package]]").find(|package| package.contains("name = \"reflow_tracing_protocol\""));
    let version = locked.and_then(|package| package.lines().find(|line| line.starts_with("version")));
    let version = version.expect("the program depends on the published crate");
    assert!(OUR_MANIFEST.lines().any(|line| line == version), "our crate is not of {version}");
}
