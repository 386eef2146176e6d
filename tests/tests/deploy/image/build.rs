//! Does the steps of a Dockerfile, as an engine would, and starts what came out of it.
//!
//! A stage on a pulled image runs on this machine's own file system instead, seen through a `chroot`, where only what the
//! stage itself makes is new. Everything else is as an engine does it: a stage has its own root, `COPY` takes only what
//! is in the context or in another stage, and a container's root is read-only with the kernel's folders and a volume mounted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{Process, process::Spec};
use tempfile::TempDir;

use super::{
    container::Image,
    context,
    dockerfile::{self, Stage, Step, Words},
    layers,
};
use crate::mounts::{Mounts, quoted};

/// A cold build of all dependencies on a busy machine with two cores.
const BUILD_TIME: Duration = Duration::from_secs(1_800);
/// The profile is the one that images have by default. Nobody runs what is built here for long, so of what it sets this test
/// takes back what makes it slow to build.
const QUICKLY: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
];
/// The stages that an engine's cache is for: kept over builds, as long as what they follow from stays the same.
const KEPT: [&str; 2] = ["dependencies", "demo-dependencies"];
/// What a pulled image is made of.
const MACHINE: &str = "/bin /dev /etc /home /lib /lib32 /lib64 /libx32 /opt /proc /root /run /sbin /sys /tmp /usr /var";
/// Of the environment, what a build on this machine needs to find its toolchain and its registry.
const ENVIRONMENT: [&str; 10] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "CARGO_HTTP",
    "CARGO_NET",
    "CARGO_REGISTRIES",
    "CARGO_REGISTRY",
    "CARGO_SOURCE",
    "RUSTUP_",
    "SSL_CERT",
];

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// The Dockerfile.
pub fn dockerfile() -> Result<(Words, Vec<Stage>)> {
    dockerfile::parse(&fs::read_to_string(repository().join("deploy/Dockerfile"))?)
}

/// A build under way: each stage is built once.
pub struct Build {
    folder: TempDir,
    stages: Vec<Stage>,
    built: BTreeMap<String, PathBuf>,
}

impl Build {
    /// Copies the context; builds nothing yet. Without any `--build-arg`, as most people build.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("images-").tempdir().context("no temp folder")?;
        fs::create_dir(folder.path().join("context"))?;
        context::copy(repository(), &folder.path().join("context"))?;
        Ok(Self { folder, stages: dockerfile()?.1, built: BTreeMap::new() })
    }

    /// Builds a stage and what it needs.
    pub async fn image(&mut self, name: &str) -> Result<Image> {
        Ok(Image { root: self.root(name).await?, stage: self.described(name)? })
    }

    fn stage(&self, name: &str) -> Result<Stage> {
        self.stages.iter().find(|stage| stage.name == name).cloned().with_context(|| format!("no stage {name}"))
    }

    /// The stage with what it inherits.
    fn described(&self, name: &str) -> Result<Stage> {
        let mut stage = self.stage(name)?;
        if let Ok(base) = self.described(&stage.base.clone()) {
            stage.environment = base.environment.into_iter().chain(stage.environment).collect();
            stage.labels = base.labels.into_iter().chain(stage.labels).collect();
            stage.volumes.extend(base.volumes);
            stage.ports.extend(base.ports);
            stage.user = stage.user.or(base.user);
            stage.folder = stage.folder.or(base.folder);
        }
        Ok(stage)
    }

    async fn root(&mut self, name: &str) -> Result<PathBuf> {
        if let Some(root) = self.built.get(name) {
            return Ok(root.clone());
        }
        let kept = if KEPT.contains(&name) { Some(layers::folder()?.join(self.layer(name).await?)) } else { None };
        let root = match kept {
            Some(kept) if kept.exists() => kept,
            Some(kept) => {
                let root = self.made(name).await?;
                layers::keep(&root, &kept)?;
                kept
            }
            None => self.made(name).await?,
        };
        self.built.insert(name.to_owned(), root.clone());
        Ok(root)
    }

    /// What an engine knows a stage's result by: its steps, and the content of all that is copied into it.
    pub async fn layer(&mut self, name: &str) -> Result<String> {
        let stage = self.stage(name)?;
        let mut digest = layers::Digest::default();
        if self.stage(&stage.base).is_ok() {
            digest.word(&Box::pin(self.layer(&stage.base)).await?);
        }
        digest.word(&format!("{:?} {:?} {QUICKLY:?}", stage.steps, stage.arguments));
        for step in &stage.steps {
            let Step::Copy { from, sources, .. } = step else { continue };
            let from = self.copied_from(from.as_deref()).await?;
            for source in sources {
                digest.tree(&from.join(source.trim_start_matches('/')))?;
            }
        }
        Ok(format!("{name}-{digest}"))
    }

    async fn made(&mut self, name: &str) -> Result<PathBuf> {
        let stage = self.described(name)?;
        let root = self.folder.path().join(format!("stage-{name}"));
        fs::create_dir(&root)?;
        if self.stage(&stage.base).is_ok() {
            let base = Box::pin(self.root(&stage.base)).await?;
            self.shell(&format!("cp -a {}/. {}", quoted(&base), quoted(&root))).await?;
        }
        for step in &stage.steps {
            match step {
                Step::Copy { from, sources, to } => {
                    let from = self.copied_from(from.as_deref()).await?;
                    self.copy(&from, sources, &root, to, stage.folder.as_deref()).await?;
                }
                Step::Run(line) => {
                    ensure!(stage.base != "scratch", "there is no shell to run {line}");
                    self.run(&stage, &root, line).await?;
                }
            }
            println!("{name}: {step:.120?}");
        }
        Ok(root)
    }

    async fn copied_from(&mut self, stage: Option<&str>) -> Result<PathBuf> {
        match stage {
            Some(stage) => Box::pin(self.root(stage)).await,
            None => Ok(self.context()),
        }
    }

    /// What `docker build` would send.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    async fn copy(&self, from: &Path, sources: &[String], root: &Path, to: &str, folder: Option<&str>) -> Result<()> {
        ensure!(sources.len() == 1 || to.ends_with('/'), "several files need a folder");
        let to = root.join(Path::new(folder.unwrap_or("/")).join(to).strip_prefix("/")?);
        for source in sources {
            let source = from.join(source.trim_start_matches('/'));
            // The contents of a folder, but a file itself.
            let what = if source.is_dir() { format!("{}/.", quoted(&source)) } else { quoted(&source) };
            self.shell(&format!("mkdir -p {to} && cp -a {what} {to}", to = quoted(&to))).await?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, root: &Path, line: &str) -> Result<()> {
        let folder = stage.folder.as_deref().unwrap_or("/");
        // This machine's own registry stands for the image's.
        let mounts = Mounts::default().step(&machine_at(root)?);
        let ours = std::env::vars().filter(|(key, _)| ENVIRONMENT.iter().any(|kept| key.starts_with(kept)));
        let mut environment: Words = ours.collect();
        environment.extend(QUICKLY.map(|(key, value)| (key.to_owned(), value.to_owned())));
        environment.extend(stage.environment.clone());
        environment.extend(stage.arguments.clone());
        let spec = mounts
            .spec(self.folder.path())
            .args(["env", "-i"])
            .args(environment.iter().map(|(key, value)| format!("{key}={value}")))
            .arg("chroot")
            .arg(root)
            .args(["sh", "-ec", &format!("cd '{folder}'\n{line}")]);
        finish(&spec, BUILD_TIME).await.with_context(|| format!("RUN {line}"))
    }

    async fn shell(&self, line: &str) -> Result<()> {
        finish(&Spec::new("sh", self.folder.path()).args(["-ec", line]), Duration::from_secs(300)).await
    }
}

/// Shows this machine's system folders in a stage's root.
fn machine_at(root: &Path) -> Result<String> {
    let home = std::env::var("CARGO_HOME").unwrap_or_default();
    let tools = Path::new(&home).components().nth(1).map(|top| format!("/{}", top.as_os_str().display()));
    Ok(format!(
        "for folder in {MACHINE} {tools}; do\n  at={root}$folder\n  if [ -L \"$folder\" ]; then [ -L \"$at\" ] || cp -P \
         \"$folder\" \"$at\"\n  elif [ -d \"$folder\" ] && ! mountpoint -q \"$at\"; then mkdir -p \"$at\"; mount --rbind \
         \"$folder\" \"$at\"; fi\ndone",
        tools = tools.unwrap_or_default(),
        root = quoted(root),
    ))
}

async fn finish(spec: &Spec, within: Duration) -> Result<()> {
    let mut process = Process::spawn(spec)?;
    let status = process.exit(within).await?;
    if !status.success() {
        bail!("{status}\n{}", process.tail());
    }
    Ok(())
}
