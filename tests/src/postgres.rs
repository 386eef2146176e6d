//! A Postgres server that is as durable as a real one, quickly.
//!
//! `initdb` takes seconds, so it runs once and its result is kept as a template that each server copies. The template
//! lies in the temp folder, for all test processes together: a runner such as nextest runs each test in a process of its
//! own. `fsync` stays on, because the tests kill -9 this server and then look for what was acknowledged.
//!
//! Postgres refuses to run as root; as root, it runs as the user `postgres` that its package made.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    eventually::{eventually, patience},
    ports::Port,
    process::{Process, Spec, User, find_program},
};

/// A Postgres server of its own: stopped when dropped, its databases with it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    spec: Spec,
    port: Port,
    programs: PathBuf,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Errors
    /// When Postgres is not installed or does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, for example `("max_connections", "20")`.
    ///
    /// # Errors
    /// When Postgres is not installed or refuses a setting.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let programs = programs()?;
        let user = server_user()?;
        let template = template(&programs, user).await?;
        let folder = tempfile::Builder::new().prefix("pg-").tempdir().context("no temp folder")?;
        give(folder.path(), user)?;
        let data = folder.path().join("data");
        // `cp -a` keeps owner and mode, and shares the blocks where the file system can.
        run_to_end(&Spec::new("cp", folder.path()).args(["-a", "--reflink=auto"]).arg(&template).arg(&data).user(user))
            .await?;
        let port = Port::reserve()?;
        let mut spec = Spec::new(programs.join("postgres"), folder.path())
            .user(user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-h", "127.0.0.1", "-p", &port.number().to_string()]);
        for (key, value) in settings {
            spec = spec.args(["-c", &format!("{key}={value}")]);
        }
        let mut server = Self { process: Process::spawn(&spec)?, spec, port, programs, _folder: folder };
        server.ready().await?;
        Ok(server)
    }

    /// The url of the database that is always there.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and gives its url.
    ///
    /// # Errors
    /// When it exists already.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url_of(name))
    }

    /// Makes an empty database whose tables lie in a folder of the caller's, for example on a disk of their own; the
    /// write-ahead log stays with the server.
    ///
    /// # Errors
    /// When it exists already, or the folder is not empty.
    pub async fn create_database_in(&self, name: &str, folder: &Path) -> Result<String> {
        give(folder, server_user()?)?;
        self.sql("postgres", &format!("CREATE TABLESPACE \"{name}\" LOCATION '{}'", folder.display())).await?;
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\" TABLESPACE \"{name}\"")).await?;
        Ok(self.url_of(name))
    }

    /// Runs statements through `psql` and gives the rows, one a line, columns parted by `|`.
    ///
    /// # Errors
    /// When a statement fails; the message is the server's.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<String> {
        sql(&self.programs, &self.url_of(database), statements).await
    }

    /// Runs one of the programs that came with the server, such as `pg_dump`, to its end.
    ///
    /// # Errors
    /// When it fails; the message is the program's.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments);
        Self::to_end(command, program).await
    }

    /// Runs lines of the shell in a folder. They find this server and the programs that came with it by themselves, as in its container.
    ///
    /// # Errors
    /// At the first line that fails; the message is that of what failed.
    pub async fn shell(&self, folder: &Path, lines: &str) -> Result<()> {
        let mut command = Command::new("sh");
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-ec", lines]).current_dir(folder);
        command.env("PATH", path).env("PGHOST", "127.0.0.1").env("PGPORT", self.port.number().to_string());
        Self::to_end(command, lines).await
    }

    async fn to_end(command: Command, what: &str) -> Result<()> {
        let output = tokio::process::Command::from(command)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {what}"))?;
        if !output.status.success() {
            bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// The process, for its memory, its CPU time and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9` of the postmaster; returns when its backends are gone too.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// SIGINT, which is Postgres' fast shutdown: what runs is rolled back, and all connections end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.signal("INT")?;
        self.process.exit(patience()).await?;
        Ok(())
    }

    /// Starts it again, on the same port and the same data, and waits out its recovery; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9().await?;
        self.process = Process::spawn(&self.spec)?;
        self.ready().await
    }

    /// SIGSTOP to the postmaster and all its backends: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn pause(&self) -> Result<()> {
        self.process.pause().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// The url of a database, whether it exists or not.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port.number())
    }

    async fn ready(&mut self) -> Result<()> {
        let (programs, url) = (self.programs.clone(), self.url());
        let deadline = tokio::time::Instant::now() + patience();
        loop {
            self.process.expect_running()?;
            let step = Duration::from_millis(500);
            match eventually(step, || sql(&programs, &url, "SELECT 1")).await {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("postgres is not ready\n{}", self.process.tail()));
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT is an immediate stop in which the postmaster ends its backends first; after a SIGKILL they would
        // still be writing while the folder is being removed. One that stands still has to go on to hear it.
        self.process.resume().ok();
        if self.process.signal("QUIT").is_ok() {
            let deadline = std::time::Instant::now() + Duration::from_secs(1);
            while matches!(self.process.status(), Ok(None)) && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The newest installed server's programs: Debian keeps them out of `PATH`, in one folder a version.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    versions.sort_unstable();
    if let Some((_, folder)) = versions.pop() {
        return Ok(folder);
    }
    let initdb = find_program("initdb")
        .context("postgres is not installed: tests/run.sh installs it (apt-get install postgresql)")?;
    initdb.parent().map(Path::to_owned).context("initdb lies in no folder")
}

/// Whom the server runs as: ourselves, unless we are root.
fn server_user() -> Result<Option<User>> {
    if our_uid()? != 0 {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    accounts
        .lines()
        .filter_map(|line| line.strip_prefix("postgres:"))
        .find_map(|line| {
            let mut fields = line.split(':').skip(1);
            Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
        .map(Some)
        .context("postgres refuses to run as root, and there is no user postgres to run it as")
}

fn our_uid() -> Result<u32> {
    Ok(std::fs::metadata("/proc/self").context("no /proc")?.uid())
}

fn give(path: &Path, user: Option<User>) -> Result<()> {
    if let Some(user) = user {
        chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("cannot give {} to postgres", path.display()))?;
    }
    Ok(())
}

/// The data folder of a fresh server, made at most once for each version and user.
async fn template(programs: &Path, user: Option<User>) -> Result<PathBuf> {
    let version = programs.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let cache = std::env::temp_dir().join(format!("reflow-tracing-tests-{}", our_uid()?));
    match std::fs::create_dir(&cache) {
        Ok(()) => std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o711))
            .with_context(|| format!("cannot open up {}", cache.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", cache.display())),
    }
    // The name can be guessed and the folder is in /tmp: do not start servers from what somebody else put there.
    if std::fs::symlink_metadata(&cache)?.uid() != our_uid()? {
        bail!("{} belongs to somebody else", cache.display());
    }
    let template = cache.join(format!("postgres-{version}"));
    if template.is_dir() {
        return Ok(template);
    }
    // Several processes may be here at once: each makes its own, the first to be done wins.
    let work = tempfile::Builder::new().prefix("initdb-").tempdir_in(&cache).context("no temp folder")?;
    give(work.path(), user)?;
    let data = work.path().join("data");
    let initdb = Spec::new(programs.join("initdb"), work.path())
        .user(user)
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"])
        // Small log segments: the copy is a third of the size.
        .args(["--wal-segsize=1", "-D"])
        .arg(&data);
    run_to_end(&initdb).await?;
    match std::fs::rename(&data, &template) {
        Ok(()) => Ok(template),
        Err(_) if template.is_dir() => Ok(template),
        Err(error) => Err(error).with_context(|| format!("cannot put {} in place", template.display())),
    }
}

async fn run_to_end(spec: &Spec) -> Result<()> {
    let mut process = Process::spawn(spec)?;
    let status = process.exit(Duration::from_secs(120)).await?;
    if !status.success() {
        bail!("{spec:?} ended with {status}\n{}", process.tail());
    }
    Ok(())
}

async fn sql(programs: &Path, url: &str, statements: &str) -> Result<String> {
    let mut command = tokio::process::Command::from(Command::new(programs.join("psql")));
    let output = command
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"])
        .args(["--command", statements, url])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run psql")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
