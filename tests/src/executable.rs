//! Finds our executables, as new as the code.
//!
//! Cargo builds no executables of other packages for a test, and cannot be told to. Left alone, `cargo test --test
//! integration` would fail on a fresh checkout and, worse, test yesterday's executables after an edit. So the harness
//! asks cargo to build them, once in each process: half a second when there is nothing to do. `tests/run.sh` has built
//! them already and says so with `REFLOW_TEST_BIN_DIR`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// What an executable of the services is called; others belong to the test's own package, which cargo has built.
const PREFIX: &str = "reflow-";

/// What the variables begin with that cargo sets for the package it runs something of.
const OF_THE_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The path of one of our executables: in `REFLOW_TEST_BIN_DIR`, else beside the running test, freshly built.
///
/// # Errors
/// When it is not there, or cannot be built.
pub fn executable(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<std::result::Result<(), String>> = OnceLock::new();

    let folder = match std::env::var_os("REFLOW_TEST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = beside_the_test()?;
            if name.starts_with(PREFIX) {
                let built = BUILT.get_or_init(|| build(&folder).map_err(|error| format!("{error:#}")));
                built.clone().map_err(anyhow::Error::msg)?;
            }
            folder
        }
    };
    let file = folder.join(name);
    if !file.is_file() {
        bail!("{} is missing: build it, or say where it is with REFLOW_TEST_BIN_DIR", file.display());
    }
    Ok(file)
}

/// `<target>/<profile>`: tests lie in its `deps`.
fn beside_the_test() -> Result<PathBuf> {
    let ourselves = std::env::current_exe().context("the test does not know where it is")?;
    let folder = ourselves.parent().context("the test lies in no folder")?;
    let in_deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(folder.parent().filter(|_| in_deps).unwrap_or(folder).to_owned())
}

fn build(folder: &Path) -> Result<()> {
    // Set for whatever cargo runs; a test that is started by hand uses what is there.
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let target = folder.parent().context("the executables lie in no target folder")?;
    let profile = match folder.file_name().map(|name| name.to_string_lossy()) {
        Some(name) if name == "debug" => "dev".to_owned(),
        Some(name) => name.into_owned(),
        None => bail!("{} is no profile's folder", folder.display()),
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in no workspace")?;
    let mut command = Command::new(cargo);
    // What cargo says of the package whose test it runs, build scripts would take for said of theirs: ring's runs again when it changes,
    // and most of the workspace after it, here and then in the next test.
    for (name, _) in std::env::vars_os() {
        if OF_THE_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["build", "--workspace", "--bins", "--quiet", "--profile", &profile, "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cannot build the executables:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
