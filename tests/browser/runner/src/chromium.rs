//! How a headless Chromium is started for tests: with a fresh profile (ChromeDriver makes one and removes it), and without the calls
//! home that a browser makes by itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// No sandbox, because tests may run as root in a container, where Chromium refuses to make one; it opens pages of ours only.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// WebDriver's capabilities, with `more` arguments for Chromium.
#[must_use]
pub fn capabilities(more: &[&str]) -> Value {
    let arguments: Vec<&str> = ARGUMENTS.iter().chain(more).copied().collect();
    json!({ "goog:chromeOptions": { "args": arguments } })
}

/// The ChromeDriver in the path.
///
/// # Errors
/// When there is none.
pub fn driver() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("there is no PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("chromedriver"))
        .find(|file| file.is_file())
        .context("chromedriver is not in the path: install chromium and its driver")
}
