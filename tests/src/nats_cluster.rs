//! Three nats-servers that are one: streams with three replicas outlive the restart of any one of them.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use crate::{
    eventually::{eventually, patience},
    http,
    nats::NatsServer,
    ports::Port,
};

const SERVERS: usize = 3;

/// A cluster of its own: killed when dropped, its streams with it.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<NatsServer>,
    monitors: Vec<Port>,
    _routes: Vec<Port>,
}

impl NatsCluster {
    /// Starts three servers and waits until they have found each other.
    ///
    /// # Errors
    /// When nats-server is not installed or they do not.
    pub async fn start() -> Result<Self> {
        let ports = || (0..SERVERS).map(|_| Port::reserve()).collect::<Result<Vec<_>>>();
        let (routes, monitors) = (ports()?, ports()?);
        let urls: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{}", port.number())).collect();
        let configurations: Vec<_> = routes
            .iter()
            .zip(&monitors)
            .enumerate()
            .map(|(number, (route, monitor))| {
                format!(
                    "server_name: harness-{number}\nhttp: 127.0.0.1:{}\n\
                     cluster {{ name: harness, listen: 127.0.0.1:{}, routes: [{}] }}",
                    monitor.number(),
                    route.number(),
                    urls.join(", ")
                )
            })
            .collect();
        let servers = try_join_all(configurations.iter().map(|extra| NatsServer::start_with(extra))).await?;
        let cluster = Self { servers, monitors, _routes: routes };
        cluster.whole().await?;
        Ok(cluster)
    }

    /// The urls of all servers, as a service takes them.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Waits until every server says that it is well: it knows the leader, and its copies of all streams are current. It is
    /// what an orchestrator waits for before it restarts the next one.
    ///
    /// # Errors
    /// When one does not for a long time.
    pub async fn whole(&self) -> Result<()> {
        for monitor in &self.monitors {
            eventually(patience(), || async {
                let answer = http::get(monitor.number(), "/healthz").await?;
                ensure!(answer.status == 200, "/healthz answers {}: {}", answer.status, answer.body);
                Ok(())
            })
            .await
            .context("a server of the cluster is not well")?;
        }
        Ok(())
    }
}
