//! A PostgreSQL server for this process, and databases in it.
//!
//! The server hangs on a pipe: a shell beside it waits for the pipe's end, which comes however this process goes, stops the server and
//! removes its folder. Its data folder is a copy of a template in the temp folder, because `initdb` takes a second and a test
//! runner may start a process for every test.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection, Row};

/// A database of its own, gone with the server, or dropped when the server is not ours.
pub struct Database {
    name: String,
    url: String,
    admin_url: String,
    dropped_at_end: bool,
}

impl Database {
    /// Makes one; `settings` is what CREATE DATABASE is told beside the name.
    pub async fn create(settings: &str) -> Result<Self> {
        let (admin_url, dropped_at_end) = match std::env::var("REFLOW_TEST_POSTGRES_URL") {
            Ok(url) => (url, true),
            Err(_) => (Server::of_this_process().await?, false),
        };
        let name = format!("store_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&admin_url).await.context("cannot connect")?;
        // Template 1 may be busy with another test's CREATE DATABASE; template 0 never is.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 {settings}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut admin).await?;
        admin.close().await?;
        let (base, _) = admin_url.rsplit_once('/').context("the url names no database")?;
        Ok(Self { url: format!("{base}/{name}"), name, admin_url, dropped_at_end })
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.dropped_at_end {
            return;
        }
        let (admin_url, drop) = (self.admin_url.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let work = std::thread::spawn(move || -> Result<()> {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let mut admin = PgConnection::connect(&admin_url).await?;
                sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut admin).await?;
                Ok(())
            })
        });
        work.join().ok();
    }
}

struct Server {
    url: String,
    /// Its standard input is the pipe; never read from, only held.
    _keeper: Child,
}

impl Server {
    async fn of_this_process() -> Result<String> {
        static SERVER: OnceLock<std::result::Result<Server, String>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        let server = server.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match PgConnection::connect(&server.url).await {
                Ok(mut connection) => {
                    let row = sqlx::query("SELECT 1").fetch_one(&mut connection).await?;
                    ensure!(row.get::<i32, _>(0) == 1, "a server that cannot count");
                    return Ok(server.url.clone());
                }
                Err(error) if Instant::now() > deadline => return Err(error).context("postgres does not come up"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn start() -> Result<Self> {
        let programs = programs()?;
        let template = template(&programs)?;
        let folder = tempfile::Builder::new().prefix("store-pg-").tempdir()?.keep();
        let data = folder.join("data");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data))?;
        own(&folder)?;
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.local_addr()?.port()
        };
        let start = format!(
            "\"$0\"/postgres -D \"$1\" -k \"$2\" -h 127.0.0.1 -p {port} -c fsync=off -c max_connections=300 \
             -c deadlock_timeout=100ms -c log_min_messages=fatal >/dev/null 2>&1"
        );
        let server = if is_root()? {
            format!(
                "setpriv --reuid=postgres --regid=postgres --clear-groups sh -c 'exec {start}' \"$0\" \"$1\" \"$2\""
            )
        } else {
            start
        };
        let keeper = Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' INT; {server} & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; rm -rf \"$2\""))
            .args([&programs, &data, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a shell")?;
        Ok(Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), _keeper: keeper })
    }
}

/// Debian keeps the server's programs out of `PATH`, in one folder a version.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    versions.sort_unstable();
    let (_, folder) = versions.pop().context("postgres is not installed (apt-get install postgresql)")?;
    Ok(folder)
}

/// A fresh data folder, made once. Whoever holds the lock file makes it; the others wait for the lock.
fn template(programs: &Path) -> Result<PathBuf> {
    let cache = std::env::temp_dir().join(format!("reflow-tracing-store-pg-{}", whoami()?));
    fs::create_dir_all(&cache)?;
    fs::set_permissions(&cache, PermissionsExt::from_mode(0o755))?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let template = cache.join("data");
    if !template.join("complete").is_file() {
        if template.is_dir() {
            fs::remove_dir_all(&template)?;
        }
        fs::create_dir(&template)?;
        own(&template)?;
        let mut initdb = as_postgres(&programs.join("initdb"))?;
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]);
        run(initdb.args(["--wal-segsize=1", "-D"]).arg(&template))?;
        File::create(template.join("complete"))?;
        own(&template)?;
    }
    Ok(template)
}

fn whoami() -> Result<String> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn is_root() -> Result<bool> {
    Ok(whoami()? == "0")
}

/// Postgres refuses to run as root: then it runs as the user its package made.
fn as_postgres(program: &Path) -> Result<Command> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    Ok(command)
}

fn own(path: &Path) -> Result<()> {
    if is_root()? { run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path)) } else { Ok(()) }
}

fn run(command: &mut Command) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut message = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut message)?;
    }
    if !child.wait()?.success() {
        bail!("{command:?}: {message}");
    }
    Ok(())
}
