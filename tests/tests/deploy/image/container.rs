//! A finished image, and containers of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use reflow_tracing_tests::process::Spec;

use super::dockerfile::Stage;
use crate::mounts::Mounts;

/// A stage with all that it stands on: files, and how to start it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its files.
    pub root: PathBuf,
    /// What the file says of it.
    pub stage: Stage,
}

impl Image {
    /// A container of it, as `docker run --read-only` makes one: its user unless `--user` says another, the environment of
    /// the image and on top of it `-e`, and what is mounted at `/data`.
    pub fn container(
        &self,
        folder: &Path,
        user: Option<&str>,
        data: Option<&Path>,
        environment: &[(&str, String)],
        command: &[String],
    ) -> Result<Spec> {
        for name in ["proc", "dev"] {
            fs::create_dir_all(self.root.join(name))?;
        }
        let mut mounts = Mounts::default().bind(&self.root, &self.root);
        // What is mounted at the root's own path hides it, so everything below is mounted after it.
        for name in ["proc", "dev"] {
            mounts = mounts.bind(&Path::new("/").join(name), &self.root.join(name));
        }
        if let Some(data) = data {
            mounts = mounts.bind(data, &self.root.join("data"));
        }
        let (uid, gid) = user.or(self.stage.user.as_deref()).unwrap_or("0:0").split_once(':').context("uid:gid")?;
        let mut spec = mounts
            .read_only(&self.root)
            .spec(folder)
            .arg("chroot")
            .arg(format!("--userspec=+{uid}:+{gid}"))
            .arg(&self.root)
            .args(command);
        for (key, value) in &self.stage.environment {
            spec = spec.env(key, value);
        }
        for (key, value) in environment {
            spec = spec.env(key, value);
        }
        Ok(spec)
    }
}
