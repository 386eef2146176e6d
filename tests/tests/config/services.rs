//! The variables with short names, on each program that reads them: where it listens, and which servers it meets the others at.

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use reflow_tracing_tests::{
    Cluster, NatsServer, Postgres, Redis, Service, ServiceBuilder, answers, events, eventually, frames::Batch, http,
    patience,
};
use tokio::net::TcpStream;

const DATABASE: &str = "mine";

/// What all programs need, and nothing else of theirs.
struct Servers {
    nats: NatsServer,
    redis: Redis,
    postgres: Postgres,
}

impl Servers {
    async fn start() -> Result<Self> {
        let (nats, redis, postgres) = tokio::try_join!(NatsServer::start(), Redis::start(), Postgres::start())?;
        postgres.create_database(DATABASE).await?;
        Ok(Self { nats, redis, postgres })
    }

    /// In the order in which they can be started, and whether each takes connections besides those of operators.
    fn programs(&self) -> [(ServiceBuilder, bool); 4] {
        let database = self.postgres.url_of(DATABASE);
        [
            (Service::standalone(), true),
            (Service::writer().nats(&self.nats).postgres(&database), false),
            (Service::collector().nats(&self.nats).redis(&self.redis), true),
            (Service::query().nats(&self.nats).postgres(&database), true),
        ]
    }
}

#[tokio::test]
async fn every_program_listens_where_host_and_ports_say() -> Result<()> {
    let servers = Servers::start().await?;
    for (program, takes_connections) in servers.programs() {
        let host = "127.0.0.3";
        let service =
            program.env("REFLOW_TRACING_HOST", host).env("REFLOW_TRACING_METRICS__HOST", "127.0.0.1").start().await?;
        assert_eq!(http::get(service.admin_port(), "/metrics").await?.status, 200);
        let there = TcpStream::connect((host, service.port())).await;
        ensure!(there.is_ok() == takes_connections, "{} on {host}: {there:?}", service.process().log()?);
        let elsewhere = TcpStream::connect(("127.0.0.1", service.port())).await;
        ensure!(elsewhere.is_err(), "it listens on another address, too");
    }
    Ok(())
}

#[tokio::test]
async fn every_program_reads_the_file_and_the_json_it_is_given() -> Result<()> {
    let servers = Servers::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "[metrics]\nendpoint = \"/figures\"\n")?;
    let by_file = ("REFLOW_TRACING_CONFIG_FILE", file.to_string_lossy().into_owned());
    let by_json = ("REFLOW_TRACING_CONFIG", r#"{"metrics": {"endpoint": "/figures"}}"#.to_owned());
    for (variable, value) in [by_file, by_json] {
        for (program, _) in servers.programs() {
            let service = program.env(variable, &value).start().await?;
            assert_eq!(http::get(service.admin_port(), "/figures").await?.status, 200, "{variable}");
            assert_eq!(http::get(service.admin_port(), "/metrics").await?.status, 404, "{variable}");
        }
    }
    Ok(())
}

/// Beside servers that nobody named, and that stay empty.
#[tokio::test]
async fn the_services_meet_at_the_servers_that_their_variables_name() -> Result<()> {
    let (servers, unnamed) = tokio::try_join!(Servers::start(), Servers::start())?;
    let [_, (writer, _), (collector, _), (query, _)] = servers.programs();
    let _writer = writer.start().await?;
    let (collector, query) = tokio::try_join!(collector.start(), query.start())?;
    let batch = Batch::new("effects", events::program(5));
    let answer = collector.connect_v2().await?.ask(&batch.request()).await?;
    answers::batch_recorded(&answer, batch.batch_id)?;

    Cluster::trace_from(&query, batch.trace_id, 5).await.context("the query service reads another database")?;
    Cluster::trace_from(&collector, batch.trace_id, 5).await.context("the collector asks over another bus")?;
    assert_eq!(servers.postgres.sql(DATABASE, "SELECT sum(events) FROM chunks").await?, "5");
    let bus = |server: &NatsServer| {
        let url = server.url();
        async move { anyhow::Ok(jetstream::new(async_nats::connect(url).await?).get_stream("REFLOW_CHUNKS").await?) }
    };
    assert_eq!(bus(&servers.nats).await?.cached_info().state.last_sequence, 1);
    eventually(patience(), || async {
        let keys = servers.redis.command("KEYS *").await?;
        ensure!(keys.contains(&batch.trace_id.to_string()), "nothing of the trace in Redis: {keys:?}");
        Ok(())
    })
    .await?;

    ensure!(bus(&unnamed.nats).await.is_err(), "chunks go to a bus that nobody named");
    assert_eq!(unnamed.redis.command("DBSIZE").await?, ":0\r\n");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(unnamed.postgres.sql(DATABASE, tables).await?, "0");
    Ok(())
}
