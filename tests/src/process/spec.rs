//! What to start: the command line, and what the child gets to see of our environment.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// What to start: the program, what it is given, and where its output goes.
#[derive(Debug, Clone)]
pub struct Spec {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: PathBuf,
    user: Option<User>,
    log: PathBuf,
    output: Option<PathBuf>,
}

/// Whom a child runs as, when not as ourselves.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

impl Spec {
    /// A program that runs in `folder` and logs to `<folder>/<program>.log`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, folder: &Path) -> Self {
        let program = program.into();
        let name = name_of(&program);
        Self {
            log: folder.join(format!("{name}.log")),
            program,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            folder: folder.to_owned(),
            user: None,
            output: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, A>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable. Of our own, every `REFLOW_TRACING_*` variable is kept from the child.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Runs the child as somebody else; needs root.
    #[must_use]
    pub fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Logs to another file than `<folder>/<program>.log`, for programs that run in a folder that is not a test's own.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = file.into();
        self
    }

    /// Sends standard output to a file of its own instead of into the log.
    #[must_use]
    pub fn output(mut self, file: impl Into<PathBuf>) -> Self {
        self.output = Some(file.into());
        self
    }

    pub(super) fn command(&self) -> Result<Command> {
        let mut command = Command::new("setpriv");
        if let Some(user) = self.user {
            command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string(), "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(&self.arguments);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("REFLOW_TRACING_") {
                command.env_remove(key);
            }
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        let output = match &self.output {
            Some(path) => File::create(path).with_context(|| format!("cannot create {}", path.display()))?,
            None => log.try_clone().context("cannot share the log file")?,
        };
        command.envs(&self.environment).current_dir(&self.folder).stdin(Stdio::null()).stdout(output).stderr(log);
        Ok(command)
    }

    /// What the program is called in messages.
    pub(super) fn name(&self) -> String {
        name_of(&self.program)
    }

    /// Where its output goes.
    pub(super) fn log_file(&self) -> PathBuf {
        self.log.clone()
    }
}

fn name_of(program: &Path) -> String {
    program.file_name().map_or_else(|| "child".to_owned(), |name| name.to_string_lossy().into_owned())
}
