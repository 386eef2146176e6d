//! The real HAProxy with the real configuration, of which only addresses are replaced.

mod addresses;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    client::Client,
    eventually::{eventually, patience},
    http,
    names::NameServer,
    ports::Port,
    process::{Process, Spec, find_program},
    service::Service,
};

pub use self::addresses::{Network, Ports};

/// How long those inside may stay when it is told to stop, in the file; a restart in a test does not wait for so long.
const STAY: (&str, &str) = ("hard-stop-after 30s", "hard-stop-after 2s");

/// HAProxy, running.
#[derive(Debug)]
pub struct Balancer {
    /// The process.
    pub process: Process,
    /// Who knows the replicas.
    pub names: NameServer,
    spec: Spec,
    programs: Port,
    people: Port,
    admin: Port,
    _folder: TempDir,
}

/// What HAProxy says of one server of a backend.
#[derive(Debug, Clone)]
pub struct Server {
    /// Whether new connections are sent there.
    pub up: bool,
    /// Connections that are open now.
    pub open: u64,
}

impl Balancer {
    /// Starts it in front of services whose replicas listen on these ports, and are found by name.
    ///
    /// # Errors
    /// When haproxy is not installed or does not come up.
    pub async fn start(collector: &Ports, query: &Ports) -> Result<Self> {
        let named = |name: &str, ports: &Ports| {
            let (port, admin) = (ports.protocol.number(), ports.admin.number());
            (format!("{name}:8080 check port 9090"), format!("{name}:{port} check port {admin}"))
        };
        Self::configured(&[named("collector", collector), named("query", query)]).await
    }

    /// Starts it in front of services that run already, each on ports of its own. When it is restarted, those inside may stay for
    /// two seconds only.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn before(collectors: &[Service], queries: &[Service]) -> Result<Self> {
        let listed = |name: &str, services: &[Service]| {
            let template = format!("    server-template {name} 64 {name}:8080 check port 9090 ");
            let options = " resolvers engine resolve-prefer ipv4 init-addr none";
            let text = fs::read_to_string(configuration())?;
            let line = text.lines().find(|line| line.starts_with(&template)).context(template.clone())?;
            let checks = line[template.len()..].strip_suffix(options).context("another end of the line")?;
            let servers: Vec<_> = services
                .iter()
                .enumerate()
                .map(|(number, service)| {
                    let (port, admin) = (service.port(), service.admin_port());
                    format!("    server {name}{number} 127.0.0.1:{port} check port {admin} {checks}")
                })
                .collect();
            anyhow::Ok((line.to_owned(), servers.join("\n")))
        };
        let stay = (STAY.0.to_owned(), STAY.1.to_owned());
        Self::configured(&[listed("collector", collectors)?, listed("query", queries)?, stay]).await
    }

    async fn configured(replaced: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("haproxy-").tempdir().context("no temp folder")?;
        let names = NameServer::start()?;
        let (programs, people, admin) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
        let mut text = fs::read_to_string(configuration())?;
        let own = [
            ("bind :8080", format!("bind 127.0.0.1:{}", programs.number())),
            ("bind :8081", format!("bind 127.0.0.1:{}", people.number())),
            ("bind :8404", format!("bind 127.0.0.1:{}", admin.number())),
            ("nameserver engine 127.0.0.11:53", format!("nameserver engine {}", names.address())),
        ];
        let own = own.iter().map(|(from, to)| (*from, to.as_str()));
        for (from, to) in own.chain(replaced.iter().map(|(from, to)| (from.as_str(), to.as_str()))) {
            ensure!(text.matches(from).count() == 1, "`{from}` is not there exactly once");
            text = text.replace(from, to);
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text)?;
        let spec = Spec::new(find_program("haproxy")?, folder.path()).args(["-db", "-f"]).arg(&file);
        let process = Process::spawn(&spec)?;
        let mut balancer = Self { process, names, spec, programs, people, admin, _folder: folder };
        balancer.ready().await?;
        Ok(balancer)
    }

    async fn ready(&mut self) -> Result<()> {
        let admin = self.admin.number();
        let answering = eventually(patience(), || async {
            let answer = http::get(admin, "/healthz").await?;
            ensure!(answer.status == 200, "/healthz answers {}", answer.status);
            Ok(())
        });
        answering.await.with_context(|| self.process.tail())?;
        self.process.expect_running()
    }

    /// What docker stop sends, by the compose file: nobody new is let in, and those inside may stay for a while. Waits for its end.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("USR1")?;
        let status = self.process.exit(patience()).await?;
        ensure!(status.success(), "{status}: {}", self.process.tail());
        Ok(())
    }

    /// Starts it again on the same ports, after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = Process::spawn(&self.spec)?;
        self.ready().await
    }

    /// The port of statistics and metrics.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin.number()
    }

    /// Where programs connect.
    #[must_use]
    pub fn programs_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.programs.number())
    }

    /// Where people connect.
    #[must_use]
    pub fn people_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.people.number())
    }

    /// A v2 connection of a program.
    ///
    /// # Errors
    /// When it does not accept.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect_v2(&self.programs_url()).await
    }

    /// The servers of a backend that have an address.
    ///
    /// # Errors
    /// When its statistics cannot be read.
    pub async fn servers(&self, backend: &str) -> Result<Vec<Server>> {
        let answer = http::get(self.admin.number(), "/;csv;norefresh").await?;
        ensure!(answer.status == 200, "statistics: {}", answer.status);
        let mut lines = answer.body.lines();
        let names: Vec<_> = lines.next().context("no header")?.trim_start_matches("# ").split(',').collect();
        let column = |name: &str| names.iter().position(|found| *found == name).with_context(|| format!("no {name}"));
        let (proxy, server, status, open) = (column("pxname")?, column("svname")?, column("status")?, column("scur")?);
        lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|row| row.get(proxy) == Some(&backend) && !["FRONTEND", "BACKEND"].contains(&row[server]))
            .filter(|row| !row[status].starts_with("MAINT"))
            .map(|row| Ok(Server { up: row[status].starts_with("UP"), open: row[open].parse()? }))
            .collect()
    }

    /// Waits until so many servers of a backend take new connections.
    ///
    /// # Errors
    /// When they do not, for a long time.
    pub async fn expect_up(&self, backend: &str, count: usize) -> Result<()> {
        let up = eventually(patience(), || async {
            let servers = self.servers(backend).await?;
            let up = servers.iter().filter(|server| server.up).count();
            ensure!(up == count, "{up} of {count} {backend} take connections: {servers:?}");
            Ok(())
        });
        up.await.with_context(|| self.process.tail())
    }

    /// What it measures, as Prometheus gets it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(self.admin.number(), "/metrics").await?.body)
    }
}

fn configuration() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy/haproxy.cfg")
}
