//! A child process that dies with the test, whatever kills the test.
//!
//! Dropping a [`Process`] kills it. That is not enough: a test runner kills a test that hangs, and nobody drops
//! anything then. So every child is started through `setpriv --pdeathsig KILL` (util-linux, on every Debian): the kernel
//! kills it when its parent dies. "Parent" means the *thread* that started it, and threads of an async runtime come and
//! go, so one thread that lives as long as the process starts all children.
//!
//! Children stay in the test's own process group, so that ctrl-C and a runner's group kill reach them as well.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::eventually::{eventually, patience};

/// How much of a log a failure shows.
const TAIL_BYTES: u64 = 8 * 1024;

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

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
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

    /// Sends standard output to a file of its own instead of into the log.
    #[must_use]
    pub fn output(mut self, file: impl Into<PathBuf>) -> Self {
        self.output = Some(file.into());
        self
    }

    fn command(&self) -> Result<Command> {
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
}

impl Process {
    /// Starts what `spec` says.
    ///
    /// # Errors
    /// When `setpriv` cannot be started. A program that cannot be executed shows as an early exit with its reason in
    /// the log.
    pub fn spawn(spec: &Spec) -> Result<Self> {
        let name = name_of(&spec.program);
        let child = on_the_spawner(spec.command()?)
            .with_context(|| format!("cannot start {name} through setpriv (package util-linux)"))?;
        Ok(Self { child, name, log: spec.log.clone() })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel does not know our child.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for the state of {}", self.name))
    }

    /// Fails, with the tail of the log, if the process has ended.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.status()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}\n{}", self.name, self.tail()),
        }
    }

    /// Waits for the end and gives the exit status.
    ///
    /// # Errors
    /// When the process still runs after `timeout`.
    pub async fn exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{} still runs after {timeout:?}\n{}", self.name, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When the process does not end within `timeout`.
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.exit(timeout).await
    }

    /// `kill -9`, and waits until it is gone. Nothing happens when it has ended already.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill9(&mut self) -> Result<()> {
        let children = descendants(self.pid());
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.exit(patience()).await?;
        // A server of several processes (Postgres) notices the death of its first a moment later; a restart has to
        // wait for that, or it finds its own data folder in use.
        eventually(patience(), || async {
            match children.iter().find(|pid| is_running(**pid)) {
                Some(pid) => bail!("process {pid}, a child of the killed {}, still runs", self.name),
                None => Ok(()),
            }
        })
        .await
    }

    /// SIGSTOP to the process and all its children; returns when they stand still.
    ///
    /// # Errors
    /// When a signal cannot be sent.
    pub async fn pause(&self) -> Result<()> {
        self.signal("STOP")?;
        // The first cannot start children any more, so one look at the family is enough.
        for pid in descendants(self.pid()) {
            signal(pid, "STOP").ok();
        }
        eventually(patience(), || async {
            match state(self.pid()) {
                Some('T' | 't') => Ok(()),
                other => bail!("{} is in state {other:?} after SIGSTOP", self.name),
            }
        })
        .await
    }

    /// SIGCONT to the process and all its children.
    ///
    /// # Errors
    /// When a signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        for pid in descendants(self.pid()) {
            signal(pid, "CONT").ok();
        }
        self.signal("CONT")
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name).with_context(|| format!("cannot send {name} to {}", self.name))
    }

    /// The end of the log.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log of {}: {error:#})", self.name))
    }

    /// The whole log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Resident memory in bytes, now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        status_line(self.pid(), "VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        status_line(self.pid(), "VmHWM:")
    }

    /// CPU time used so far by the process and its children, living or waited for, user and system.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut total = cpu_ticks(self.pid()).with_context(|| format!("{} has ended", self.name))?;
        for pid in descendants(self.pid()) {
            total += cpu_ticks(pid).unwrap_or(0);
        }
        // USER_HZ is 100 on every Linux that Debian runs on: it is part of the kernel's interface, not its tick.
        Ok(Duration::from_millis(total * 10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let still_running = matches!(self.child.try_wait(), Ok(None));
        if std::thread::panicking() {
            eprintln!("--- {} (running: {still_running}) ---\n{}", self.name, self.tail());
        }
        if still_running && self.child.kill().is_ok() {
            // Reaped here, so that nothing of a test outlives it, not even a zombie.
            self.child.wait().ok();
        }
    }
}

/// Finds an executable in `PATH` and in the folders where Debian keeps servers, which users do not have in `PATH`.
///
/// # Errors
/// When it is nowhere; the message says how to get it.
pub fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: tests/run.sh installs it (apt-get install {name})"))
}

/// Whether a process with this id runs: a zombie does not.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

fn name_of(program: &Path) -> String {
    program.file_name().map_or_else(|| "child".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Starts a child on the one thread that lives as long as this process does.
fn on_the_spawner(command: Command) -> Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                answer.send(command.spawn()).ok();
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    spawner.send((command, answer)).context("the spawner thread has ended")?;
    Ok(child.recv().context("the spawner thread has ended")??)
}

fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own `kill`: sending signals from Rust needs unsafe code or one more crate, and `/bin/kill` is not on
    // every Debian.
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {name} {pid}")])
        .stderr(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("kill -s {name} {pid}: code {:?}, signal {:?}", status.code(), status.signal());
    }
    Ok(())
}

/// The fields of `/proc/<pid>/stat` behind the name, which may itself hold blanks and brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn state(pid: u32) -> Option<char> {
    stat_fields(pid)?.first()?.chars().next()
}

/// proc(5): utime, stime, cutime, cstime are fields 14 to 17, counted from 1, and the state is field 3.
fn cpu_ticks(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, stat_fields(pid)?.get(1)?.parse::<u32>().ok()?)))
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family.split_off(1)
}

fn status_line(pid: u32, key: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .with_context(|| format!("no {key} of process {pid}"))
}

fn tail(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
