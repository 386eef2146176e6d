//! The real HAProxy with the real configuration, of which only addresses are replaced.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Port, Process, eventually, http, patience,
    process::{Spec, find_program},
};
use tempfile::TempDir;

use super::dns::NameServer;
use crate::image::repository;

/// Addresses that every replica of a service has in common; each replica has an IP address of its own, as in a container.
#[derive(Debug)]
pub struct Ports {
    /// The protocol's.
    pub protocol: Port,
    /// The admin port.
    pub admin: Port,
}

/// HAProxy, running.
#[derive(Debug)]
pub struct Balancer {
    /// The process.
    pub process: Process,
    /// Who knows the replicas.
    pub names: NameServer,
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

impl Ports {
    /// Two free ones.
    pub fn reserve() -> Result<Self> {
        Ok(Self { protocol: Port::reserve()?, admin: Port::reserve()? })
    }
}

impl Balancer {
    /// Starts it in front of services whose replicas listen on these ports.
    pub async fn start(collector: &Ports, query: &Ports) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("haproxy-").tempdir().context("no temp folder")?;
        let names = NameServer::start()?;
        let (programs, people, admin) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
        let mut text = fs::read_to_string(repository().join("deploy/haproxy/haproxy.cfg"))?;
        let at = |name: &str, ports: &Ports| {
            let (port, admin) = (ports.protocol.number(), ports.admin.number());
            format!("{name}:{port} check port {admin}")
        };
        for (from, to) in [
            ("bind :8080", format!("bind 127.0.0.1:{}", programs.number())),
            ("bind :8081", format!("bind 127.0.0.1:{}", people.number())),
            ("bind :8404", format!("bind 127.0.0.1:{}", admin.number())),
            ("nameserver engine 127.0.0.11:53", format!("nameserver engine 127.0.0.1:{}", names.port())),
            ("collector:8080 check port 9090", at("collector", collector)),
            ("query:8080 check port 9090", at("query", query)),
        ] {
            ensure!(text.matches(from).count() == 1, "`{from}` is not there exactly once");
            text = text.replace(from, &to);
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text)?;
        let spec = Spec::new(find_program("haproxy")?, folder.path()).args(["-db", "-f"]).arg(&file);
        let mut process = Process::spawn(&spec)?;
        let answering = eventually(patience(), || async {
            let answer = http::get(admin.number(), "/healthz").await?;
            ensure!(answer.status == 200, "/healthz answers {}", answer.status);
            Ok(())
        });
        answering.await.with_context(|| process.tail())?;
        process.expect_running()?;
        Ok(Self { process, names, programs, people, admin, _folder: folder })
    }

    /// Where programs connect.
    pub fn programs_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.programs.number())
    }

    /// Where people connect.
    pub fn people_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.people.number())
    }

    /// A v2 connection of a program.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect_v2(&self.programs_url()).await
    }

    /// The servers of a backend that have an address.
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
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(self.admin.number(), "/metrics").await?.body)
    }
}

/// Addresses for replicas, in a loopback network that this test process alone is likely to use; they need no set-up.
#[derive(Debug)]
pub struct Network {
    second: u8,
    third: u8,
    last: u8,
}

impl Network {
    /// A network of its own.
    pub fn new() -> Self {
        let id = std::process::id().to_be_bytes();
        // 127.0 is everybody's.
        Self { second: (id[2] & 0x7F) | 0x80, third: id[3], last: 0 }
    }

    /// One more address.
    pub fn address(&mut self) -> Ipv4Addr {
        self.last += 1;
        Ipv4Addr::new(127, self.second, self.third, self.last)
    }
}
