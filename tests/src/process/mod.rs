//! A child process that dies with the test, whatever kills the test.
//!
//! Dropping a [`Process`] kills it. That is not enough: a test runner kills a test that hangs, and nobody drops
//! anything then. So every child is started through `setpriv --pdeathsig KILL` (util-linux, on every Debian): the kernel
//! kills it when its parent dies. "Parent" means the *thread* that started it, and threads of an async runtime come and
//! go, so one thread that lives as long as the process starts all children.
//!
//! Children stay in the test's own process group, so that ctrl-C and a runner's group kill reach them as well.

mod kernel;
mod spec;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::kernel::{cpu_ticks, descendants, proportional_bytes, signal, state, status_line};
pub use self::{
    kernel::is_running,
    spec::{Spec, User},
};
use crate::eventually::{eventually, patience};

/// How much of a log a failure shows.
const TAIL_BYTES: u64 = 8 * 1024;

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts what `spec` says.
    ///
    /// # Errors
    /// When `setpriv` cannot be started. A program that cannot be executed shows as an early exit with its reason in
    /// the log.
    pub fn spawn(spec: &Spec) -> Result<Self> {
        let name = spec.name();
        let child = on_the_spawner(spec.command()?)
            .with_context(|| format!("cannot start {name} through setpriv (package util-linux)"))?;
        Ok(Self { child, name, log: spec.log_file() })
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

    /// Memory of the process and its children now, in bytes: each page that several have in memory counts once among them.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn family_bytes(&self) -> Result<u64> {
        let children = descendants(self.pid()).into_iter().filter_map(|pid| proportional_bytes(pid).ok());
        Ok(proportional_bytes(self.pid())? + children.sum::<u64>())
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

fn tail(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
