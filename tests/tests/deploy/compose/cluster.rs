//! What a container engine would keep of a compose file's services, as plain processes.
//!
//! Replaced is only what a container has of its own: names by addresses, ports by free ones, mounted paths by theirs, and
//! `/usr/local/bin` by the folder of our executables. What is inside others' images (Postgres' first start) is the harness's.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Port, Postgres, Process, eventually,
    executable::executable,
    haproxy::{Network, Ports},
    patience,
    process::{Spec, find_program},
};
use serde_json::Value;
use tempfile::TempDir;

use super::file::{bind_mounts, config, environment, words};
use crate::mounts::Mounts;

/// As hexadecimal ones can be: NATS takes some of them for numbers.
const PASSWORDS: [(&str, &str); 3] =
    [("POSTGRES_PASSWORD", "4postgres"), ("NATS_PASSWORD", "3e45"), ("REDIS_PASSWORD", "4redis")];

/// What runs, and what a container would know by name.
pub struct Cluster {
    pub config: Value,
    folder: TempDir,
    pub network: Network,
    /// What stands in the file, and what it is here.
    replaced: Vec<(String, String)>,
    pub processes: BTreeMap<String, Process>,
}

impl Cluster {
    pub fn new(file: &str) -> Result<Self> {
        Ok(Self {
            config: config(file, &PASSWORDS)?,
            folder: tempfile::tempdir().context("no temp folder")?,
            network: Network::new(),
            replaced: Vec::new(),
            processes: BTreeMap::new(),
        })
    }

    pub fn service(&self, name: &str) -> Result<&Value> {
        self.config["services"].get(name).with_context(|| format!("no service {name}"))
    }

    fn here(&self, text: &str) -> String {
        self.replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    pub fn replace(&mut self, from: impl Into<String>, to: impl Into<String>) {
        self.replaced.push((from.into(), to.into()));
    }

    /// A folder for one process.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A program with a service's environment and arguments.
    pub fn spec(&self, service: &str, name: &str, program: PathBuf, words: &[String]) -> Result<Spec> {
        let mut spec = Spec::new(program, &self.place(name)?).args(words.iter().map(|word| self.here(word)));
        for (key, value) in environment(self.service(service)?) {
            spec = spec.env(key, self.here(&value));
        }
        Ok(spec)
    }

    /// One of our services: its command, its environment, an address of its own.
    pub fn ours(&self, service: &str, name: &str, program: &str, address: Ipv4Addr, ports: &Ports) -> Result<Spec> {
        let arguments = words(&self.service(service)?["command"])?;
        Ok(self
            .spec(service, name, executable(program)?, &arguments)?
            .env("REFLOW_TRACING_HOST", address.to_string())
            .env("REFLOW_TRACING_PORT", ports.protocol.number().to_string())
            .env("REFLOW_TRACING_METRICS_PORT", ports.admin.number().to_string()))
    }

    /// As many of a service as the file says, each healthy by the file's own check.
    pub async fn replicas(&mut self, service: &str, program: &str, ports: &Ports) -> Result<Vec<Ipv4Addr>> {
        let check = words(&self.service(service)?["healthcheck"]["test"])?;
        let [kind, path, arguments @ ..] = &check[..] else { bail!("no health check: {check:?}") };
        ensure!(kind == "CMD" && *path == format!("/usr/local/bin/{program}"), "{check:?}");
        let scale = self.service(service)?["scale"].as_u64().unwrap_or(1);
        let mut addresses = Vec::new();
        for number in 1..=scale {
            let (name, address) = (format!("{service}-{number}"), self.network.address());
            let mut process = Process::spawn(&self.ours(service, &name, program, address, ports)?)?;
            let asking = format!("{name}-check");
            let check = self
                .spec(service, &asking, executable(program)?, arguments)?
                .env("REFLOW_TRACING_HOST", address.to_string())
                .env("REFLOW_TRACING_METRICS_PORT", ports.admin.number().to_string());
            let healthy = eventually(patience(), || async {
                let mut check = Process::spawn(&check)?;
                let status = check.exit(patience()).await?;
                ensure!(status.success(), "the health check ends with {status}: {}", check.tail());
                Ok(())
            });
            healthy.await.with_context(|| format!("{name}: {}", process.tail()))?;
            process.expect_running()?;
            self.processes.insert(name, process);
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Somebody else's program as locked in as its service is: the file's user, no capability and no way to one, and on all of the
    /// machine nothing to write on but a folder of its own.
    fn locked_in(&self, service: &str, program: &str, arguments: &[String]) -> Result<Spec> {
        let place = self.place(service)?;
        let mut spec = Mounts::default().bind(&place, &place).read_only("/".as_ref()).spec(&place).args([
            "setpriv",
            "--no-new-privs",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]);
        if let Some(user) = self.service(service)?["user"].as_str() {
            spec = spec.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        }
        spec = spec.arg(find_program(program)?).args(arguments);
        for (key, value) in environment(self.service(service)?) {
            spec = spec.env(key, value);
        }
        Ok(spec)
    }

    /// NATS, by the file that the service mounts.
    pub async fn nats(&mut self) -> Result<()> {
        let (port, monitor) = (Port::reserve()?, Port::reserve()?);
        let service = self.service("nats")?;
        let arguments = words(&service["command"])?;
        let [flag, inside] = &arguments[..] else { bail!("another command: {arguments:?}") };
        let mounts = bind_mounts(service)?;
        let (source, _) = mounts.iter().find(|(_, target)| target == inside).context("its file is not mounted")?;
        let place = self.place("nats")?;
        let mut text = fs::read_to_string(source)?;
        for (from, to) in [
            ("0.0.0.0:4222", format!("127.0.0.1:{}", port.number())),
            ("0.0.0.0:8222", format!("127.0.0.1:{}", monitor.number())),
            ("/data", place.join("data").display().to_string()),
        ] {
            ensure!(text.contains(from), "no {from} in {source}");
            text = text.replacen(&format!(" {from}\n"), &format!(" \"{to}\"\n"), 1);
        }
        let file = place.join("nats.conf");
        fs::write(&file, text)?;
        let spec = self.locked_in("nats", "nats-server", std::slice::from_ref(flag))?.arg(&file);
        let mut process = Process::spawn(&spec)?;
        // What its health check asks.
        let asked = monitor.number();
        let healthy = eventually(patience(), || async {
            let answer = reflow_tracing_tests::http::get(asked, "/healthz").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        });
        healthy.await.with_context(|| process.tail())?;
        process.expect_running()?;
        self.processes.insert("nats".to_owned(), process);
        self.replace("@nats:4222", format!("@127.0.0.1:{}", port.number()));
        Ok(())
    }

    /// Redis, by the command that the service gives.
    pub async fn redis(&mut self) -> Result<()> {
        let port = Port::reserve()?;
        let number = port.number().to_string();
        let command = words(&self.service("redis")?["command"])?;
        let (program, arguments) = command.split_first().context("no command")?;
        let spec = self.locked_in("redis", program, arguments)?.args(["--bind", "127.0.0.1", "--port", &number]);
        let mut process = Process::spawn(&spec)?;
        let check = words(&self.service("redis")?["healthcheck"]["test"])?;
        let [kind, asking, arguments @ ..] = &check[..] else { bail!("no health check: {check:?}") };
        ensure!(kind == "CMD", "{kind}");
        let check = self.spec("redis", "redis-check", find_program(asking)?, &["-p".to_owned(), number.clone()])?;
        let check = check.args(arguments);
        let healthy = eventually(patience(), || async {
            let mut check = Process::spawn(&check)?;
            ensure!(check.exit(patience()).await?.success(), "{}", check.tail());
            Ok(())
        });
        healthy.await.with_context(|| process.tail())?;
        process.expect_running()?;
        self.processes.insert("redis".to_owned(), process);
        self.replace("@redis:6379", format!("@127.0.0.1:{number}"));
        Ok(())
    }

    /// Postgres with the user, the password and the database that the image makes from the environment.
    pub async fn postgres(&mut self) -> Result<Postgres> {
        let postgres = Postgres::start().await?;
        let environment = environment(self.service("postgres")?);
        let set = |key: &str| environment.get(key).with_context(|| format!("no {key}"));
        let (user, database) = (set("POSTGRES_USER")?, set("POSTGRES_DB")?);
        let password = set("POSTGRES_PASSWORD")?;
        postgres.sql("postgres", &format!("CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")).await?;
        postgres.sql("postgres", &format!("CREATE DATABASE {database} OWNER {user}")).await?;
        let url = postgres.url();
        let address = url.rsplit('@').next().and_then(|rest| rest.split('/').find(|part| part.contains(':')));
        self.replace("@postgres:5432", format!("@{}", address.context(url.clone())?));
        Ok(postgres)
    }
}
