//! The load balancer, in front of real collectors.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Balancer, Client, Cluster, Load, NatsServer, Process, answers, events, eventually,
    executable::executable,
    frames::{self, Batch},
    haproxy::{Network, Ports},
    http,
    load::Options,
    patience,
    process::Spec,
};
use tempfile::TempDir;

/// As many programs as three collectors can share evenly.
const PROGRAMS: usize = 9;

struct Collectors {
    ports: Ports,
    network: Network,
    nats: String,
    addresses: Vec<Ipv4Addr>,
    processes: Vec<Process>,
    folder: TempDir,
}

impl Collectors {
    fn new(nats: &NatsServer) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temp folder")?;
        let (ports, network) = (Ports::reserve()?, Network::new());
        Ok(Self { ports, network, nats: nats.url(), addresses: Vec::new(), processes: Vec::new(), folder })
    }

    /// One more collector, which the balancer is told of by name only.
    fn add(&mut self, balancer: &Balancer) -> Result<()> {
        let address = self.network.address();
        self.processes.push(self.start(address)?);
        self.addresses.push(address);
        balancer.names.set("collector", &self.addresses);
        Ok(())
    }

    fn start(&self, address: Ipv4Addr) -> Result<Process> {
        let folder = self.folder.path().join(address.to_string());
        std::fs::create_dir_all(&folder)?;
        let spec = Spec::new(executable("reflow-collector")?, &folder)
            .env("REFLOW_TRACING_NATS_URL", &self.nats)
            .env("REFLOW_TRACING_HOST", address.to_string())
            .env("REFLOW_TRACING_PORT", self.ports.protocol.number().to_string())
            .env("REFLOW_TRACING_METRICS_PORT", self.ports.admin.number().to_string());
        Process::spawn(&spec)
    }
}

async fn record(client: &mut Client) -> Result<()> {
    let batch = Batch::new("balanced", events::program(5));
    let answer = client.ask(&batch.request()).await?;
    ensure!(answers::batch_recorded(&answer, batch.batch_id)?.0 == 5, "{answer}");
    Ok(())
}

/// Connections of each server, most first.
async fn spread(balancer: &Balancer) -> Result<Vec<u64>> {
    let mut open: Vec<_> = balancer.servers("collectors").await?.iter().map(|server| server.open).collect();
    open.sort_unstable_by(|a, b| b.cmp(a));
    Ok(open)
}

#[tokio::test]
async fn a_collector_stops_under_load_and_nothing_is_lost_and_programs_go_on() -> Result<()> {
    let cluster = Cluster::build().collectors(0).start().await?;
    let mut collectors = Collectors::new(&cluster.nats)?;
    let balancer = Balancer::start(&collectors.ports, &Ports::reserve()?).await?;
    for _ in 0..3 {
        collectors.add(&balancer)?;
    }
    balancer.expect_up("collectors", 3).await?;

    let options = Options { programs: PROGRAMS, pace: Duration::from_millis(10), ..Options::default() };
    let load = Load::start(vec![balancer.programs_url()], &options);
    load.progress(50).await?;
    eventually(patience(), || async {
        let open = spread(&balancer).await?;
        ensure!(open == [3, 3, 3], "{PROGRAMS} programs are spread as {open:?}");
        Ok(())
    })
    .await?;

    // Twice, the second time another one, with the first back in the rotation.
    for number in [0, 1] {
        let status = collectors.processes[number].terminate(patience()).await?;
        ensure!(status.code() == Some(0), "something was cut off: {status}\n{}", collectors.processes[number].tail());
        load.progress(50).await.context("after a collector has stopped")?;
        eventually(patience(), || async {
            let servers = balancer.servers("collectors").await?;
            let (up, open) = (servers.iter().filter(|s| s.up).count(), spread(&balancer).await?);
            ensure!(up == 2 && open.iter().sum::<u64>() == PROGRAMS as u64 && open[2] == 0, "{up} up, {open:?}");
            Ok(())
        })
        .await
        .context("its programs did not move to the others")?;
        collectors.processes[number] = collectors.start(collectors.addresses[number])?;
        balancer.expect_up("collectors", 3).await?;
        load.progress(50).await?;
    }
    let ledger = load.finish(patience()).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

#[tokio::test]
async fn a_collector_more_is_found_by_name_and_one_that_is_not_ready_gets_nobody() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut collectors = Collectors::new(&nats)?;
    let balancer = Balancer::start(&collectors.ports, &Ports::reserve()?).await?;
    collectors.add(&balancer)?;
    balancer.expect_up("collectors", 1).await?;
    // It listens on its port and waits for a bus that is not there.
    let reachable = std::mem::replace(&mut collectors.nats, "nats://127.0.0.1:1".to_owned());
    collectors.add(&balancer)?;
    eventually(patience(), || async {
        let servers = balancer.servers("collectors").await?;
        ensure!(servers.len() == 2 && servers.iter().filter(|s| s.up).count() == 1, "{servers:?}");
        Ok(())
    })
    .await?;
    for _ in 0..4 {
        record(&mut balancer.connect().await?).await?;
    }
    collectors.nats = reachable;
    collectors.add(&balancer)?;
    balancer.expect_up("collectors", 2).await?;
    ensure!(balancer.metrics().await?.contains("haproxy_server_status{proxy=\"collectors\""), "no metrics");
    Ok(())
}

#[tokio::test]
async fn sixty_four_of_each_are_found_and_who_is_not_there_has_no_metrics() -> Result<()> {
    let balancer = Balancer::start(&Ports::reserve()?, &Ports::reserve()?).await?;
    let mut network = Network::new();
    let metrics = async |lines: &str| {
        let scraped = http::get(balancer.admin_port(), "/metrics?no-maint=").await?;
        ensure!(scraped.status == 200, "{}", scraped.status);
        anyhow::Ok(scraped.body.lines().filter(|line| line.starts_with(lines)).count())
    };
    ensure!(metrics("haproxy_server_check_failures_total{").await? == 0, "metrics of nobody");
    for (service, backend) in [("collector", "collectors"), ("query", "queries")] {
        let addresses: Vec<_> = (0..64).map(|_| network.address()).collect();
        balancer.names.set(service, &addresses);
        eventually(patience(), || async {
            let found = balancer.servers(backend).await?.len();
            ensure!(found == 64, "{found} of 64 {backend} are known");
            Ok(())
        })
        .await?;
    }
    ensure!(metrics("haproxy_server_check_failures_total{").await? == 128, "not everybody has metrics");
    Ok(())
}

#[tokio::test]
async fn the_balancer_lets_those_inside_stay_when_it_stops() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut collectors = Collectors::new(&nats)?;
    let mut balancer = Balancer::start(&collectors.ports, &Ports::reserve()?).await?;
    collectors.add(&balancer)?;
    balancer.expect_up("collectors", 1).await?;
    let mut inside = balancer.connect().await?;
    record(&mut inside).await?;
    // What docker stop sends, by the compose file.
    balancer.process.signal("USR1")?;
    eventually(patience(), || async {
        ensure!(balancer.connect().await.is_err(), "somebody new was let in");
        Ok(())
    })
    .await?;
    record(&mut inside).await.context("who was inside was cut off")?;
    inside.close().await?;
    let status = balancer.process.exit(patience()).await?;
    ensure!(status.success(), "{status}: {}", balancer.process.tail());
    Ok(())
}

#[tokio::test]
async fn a_large_answer_and_a_program_that_ends_without_a_close_frame_pass_through() -> Result<()> {
    let cluster = Cluster::build().collectors(0).start().await?;
    let mut collectors = Collectors::new(&cluster.nats)?;
    let balancer = Balancer::start(&collectors.ports, &Ports::reserve()?).await?;
    collectors.add(&balancer)?;
    balancer.expect_up("collectors", 1).await?;
    let batch = Batch::new("large", events::program(2_000));
    let answer = balancer.connect().await?.ask(&batch.request()).await?;
    ensure!(answers::batch_recorded(&answer, batch.batch_id)?.0 == 2_000, "{answer:.300}");
    let mut client = Client::connect(&balancer.programs_url()).await?;
    eventually(patience(), || async {
        let answer = Client::connect(&balancer.programs_url()).await?.ask(&frames::get_trace(batch.trace_id)).await?;
        let trace = answers::trace(&answer)?.context("the trace is not there yet")?;
        ensure!(answers::events(trace)?.len() == 2_000, "events are missing");
        Ok(())
    })
    .await?;
    client.send_json(&frames::ping()).await?;
    client.recv_json().await?;
    client.hang_up();
    eventually(patience(), || async {
        let open = spread(&balancer).await?;
        ensure!(open == [0], "{open:?} connections stay open");
        Ok(())
    })
    .await
}
