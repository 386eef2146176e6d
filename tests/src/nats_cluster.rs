//! Three nats-servers that are one: streams with three replicas outlive the restart of any one of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;

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
                    "server_name: {}\nhttp: 127.0.0.1:{}\n\
                     cluster {{ name: harness, listen: 127.0.0.1:{}, routes: [{}] }}",
                    server_name(number),
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

    /// Waits for what an operator waits for before the next server goes, and the chart's startup probe with him: every server says
    /// that it is well, and for the cluster itself, each stream and each consumer there is a leader whose two followers are current.
    ///
    /// # Errors
    /// When that is not so for a long time.
    pub async fn whole(&self) -> Result<()> {
        let views = || try_join_all(self.monitors.iter().map(jetstream));
        eventually(patience(), || async {
            let views = views().await?;
            let known: BTreeSet<_> = views.iter().flat_map(groups).map(|(group, _)| group).collect();
            for group in known {
                let led = views.iter().enumerate().find_map(|(number, view)| {
                    let (_, state) = groups(view).into_iter().find(|(name, _)| *name == group)?;
                    (state["leader"] == server_name(number)).then(|| state.clone())
                });
                let led = led.with_context(|| format!("{group} has no leader"))?;
                let followers = led["replicas"].as_array().context("no replicas")?;
                let current = followers.iter().filter(|one| one["current"] == true && one["offline"] != true).count();
                ensure!(current == SERVERS - 1, "{group}: {led}");
            }
            Ok(())
        })
        .await
        .context("the cluster is not whole")
    }

    /// What each server that answers says of the streams, for the message of a failure.
    pub async fn told(&self) -> String {
        let mut told = Vec::new();
        for (number, monitor) in self.monitors.iter().enumerate() {
            let view = jetstream(monitor).await.unwrap_or_default();
            for stream in list(&view, "account_details").iter().flat_map(|account| list(account, "stream_detail")) {
                let state = &stream["state"];
                let (name, left) = (server_name(number), &state["messages"]);
                told.push(format!(
                    "{name}: {} has {left} messages, {} to {}",
                    stream["name"], state["first_seq"], state["last_seq"]
                ));
            }
        }
        told.join("\n")
    }
}

fn server_name(number: usize) -> String {
    format!("harness-{number}")
}

/// What a server that says it is well tells of JetStream.
async fn jetstream(monitor: &Port) -> Result<Value> {
    let health = http::get(monitor.number(), "/healthz").await?;
    ensure!(health.status == 200, "/healthz answers {}: {}", health.status, health.body);
    let answer = http::get(monitor.number(), "/jsz?accounts=true&streams=true&consumers=true").await?;
    serde_json::from_str(&answer.body).context("/jsz")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Each group of servers that keeps something together: the cluster's own, one a stream, one a consumer.
fn groups(view: &Value) -> Vec<(String, &Value)> {
    let mut found = vec![("the cluster".to_owned(), &view["meta_cluster"])];
    for stream in list(view, "account_details").iter().flat_map(|account| list(account, "stream_detail")) {
        found.push((stream["name"].to_string(), &stream["cluster"]));
        for consumer in list(stream, "consumer_detail") {
            found.push((format!("{} of {}", consumer["name"], stream["name"]), &consumer["cluster"]));
        }
    }
    found
}
