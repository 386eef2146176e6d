//! The services of the compose file, started as plain processes with the environment and the arguments that the file gives
//! them, in the order and by the health checks that it gives: all but Grafana, which Debian does not have.

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Balancer, Client, Process, answers, events, eventually,
    executable::executable,
    frames::{self, Batch},
    haproxy::Ports,
    patience,
};

use super::cluster::Cluster;
use super::file::{CLUSTER, STANDALONE, bind_mounts, words};
use super::monitoring;

async fn send(url: &str) -> Result<Batch> {
    let batch = Batch::new("composed", events::program(20));
    let answer = Client::connect_v2(url).await?.ask(&batch.request()).await?;
    ensure!(answers::batch_recorded(&answer, batch.batch_id)?.0 == 20, "{answer}");
    Ok(batch)
}

async fn expect(url: &str, batch: &Batch) -> Result<()> {
    eventually(patience(), || async {
        let answer = Client::connect(url).await?.ask(&frames::get_trace(batch.trace_id)).await?;
        let trace = answers::trace(&answer)?.context("the trace is not there")?;
        ensure!(answers::events(trace)? == answers::by_id(&batch.events), "not what was sent");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_cluster_takes_a_batch_through_the_load_balancer_and_gives_it_back() -> Result<()> {
    let mut cluster = Cluster::new(CLUSTER[0])?;
    cluster.nats().await.context("nats")?;
    cluster.redis().await.context("redis")?;
    let postgres = cluster.postgres().await.context("postgres")?;

    let arguments = words(&cluster.service("migrate")?["command"])?;
    let mut migrate = Process::spawn(&cluster.spec("migrate", "migrate", executable("reflow-writer")?, &arguments)?)?;
    let status = migrate.exit(patience()).await?;
    ensure!(status.success() && migrate.log()?.contains("migrations applied"), "{status}: {}", migrate.tail());

    let (collector, writer, query) = (Ports::reserve()?, Ports::reserve()?, Ports::reserve()?);
    let collectors = cluster.replicas("collector", "reflow-collector", &collector).await?;
    let writers = cluster.replicas("writer", "reflow-writer", &writer).await?;
    let queries = cluster.replicas("query", "reflow-query", &query).await?;
    ensure!((collectors.len(), writers.len(), queries.len()) == (2, 2, 2), "another number of replicas");

    let mounted = bind_mounts(cluster.service("haproxy")?)?;
    // Where its image looks for `haproxy.cfg`.
    let [(source, "/usr/local/etc/haproxy")] = &mounted.iter().map(|(s, t)| (s, &**t)).collect::<Vec<_>>()[..] else {
        bail!("{mounted:?}")
    };
    ensure!(source.ends_with("deploy/haproxy"), "{source}");
    let balancer = Balancer::start(&collector, &query).await?;
    balancer.names.set("collector", &collectors);
    balancer.names.set("query", &queries);
    balancer.expect_up("collectors", 2).await?;
    balancer.expect_up("queries", 2).await?;

    for _ in 0..4 {
        let batch = send(&balancer.programs_url()).await?;
        expect(&balancer.people_url(), &batch).await.context("through the query services")?;
        expect(&balancer.programs_url(), &batch).await.context("through the collectors")?;
    }
    ensure!(postgres.sql("reflow", "SELECT sum(event_count) FROM traces").await? == "80", "not in the file's database");

    let admin_ports = [("collector", &collector), ("writer", &writer), ("query", &query)];
    let addresses = [("collector", &collectors[..]), ("writer", &writers), ("query", &queries)];
    let prometheus =
        monitoring::prometheus(&mut cluster, &balancer, &admin_ports, &addresses).await.context("prometheus")?;
    monitoring::everything_is_scraped(&prometheus, 80.0).await?;

    demo(&mut cluster, &balancer).await.context("the demo")?;
    for (name, process) in &mut cluster.processes {
        process.expect_running().with_context(|| name.clone())?;
    }
    Ok(())
}

/// The demo sends by itself; its flow shows up in history, and its health check asks for it there.
async fn demo(cluster: &mut Cluster, balancer: &Balancer) -> Result<()> {
    let programs = balancer.programs_url();
    cluster.replace("ws://haproxy:8080", programs.trim_end_matches('/'));
    let arguments = words(&cluster.service("demo")?["command"])?;
    let check = words(&cluster.service("demo")?["healthcheck"]["test"])?;
    let [kind, path, asking @ ..] = &check[..] else { bail!("no health check: {check:?}") };
    ensure!(kind == "CMD" && path == "/usr/local/bin/query_client", "{check:?}");
    let check = cluster.spec("demo", "demo-check", executable("query_client")?, asking)?;
    let status = Process::spawn(&check)?.exit(patience()).await?;
    ensure!(status.code() == Some(1), "it is well before it was started: {status}");

    let process = Process::spawn(&cluster.spec("demo", "demo", executable("simple_client")?, &arguments)?)?;
    let healthy = eventually(patience(), || async {
        let mut check = Process::spawn(&check)?;
        let status = check.exit(patience()).await?;
        ensure!(status.success(), "the health check ends with {status}: {}", check.tail());
        Ok(())
    });
    healthy.await.with_context(|| process.tail())?;
    let query = frames::query_traces(&frames::Query::all().flow("demo").limit(1));
    let answer = Client::connect(&balancer.people_url()).await?.ask(&query).await?;
    ensure!(answers::found(&answer)?.1 > 0, "its trace is not there: {answer}");
    Ok(())
}

#[tokio::test]
async fn the_small_file_keeps_its_traces_without_any_other_service() -> Result<()> {
    let mut alone = Cluster::new(STANDALONE)?;
    let (name, program) = ("reflow-tracing", "reflow-tracing");
    let ports = Ports::reserve()?;
    // The image's own environment names /data, which the file mounts a volume at.
    ensure!(words(&alone.service(name)?["volumes"])? == ["traces:/data:rw"], "{}", alone.service(name)?["volumes"]);
    let address = alone.network.address();
    let database = alone.place("data")?.join("traces.db");
    let spec = alone.ours(name, "one", program, address, &ports)?.env("REFLOW_TRACING_SQLITE_PATH", &database);
    let url = format!("ws://{address}:{}/", ports.protocol.number());
    let mut process = Process::spawn(&spec)?;
    let batch = eventually(patience(), || send(&url)).await.with_context(|| process.tail())?;
    ensure!(process.terminate(patience()).await?.success(), "{}", process.tail());
    process = Process::spawn(&spec)?;
    expect(&url, &batch).await.with_context(|| process.tail())
}
