//! The variables with short names, each by what it does to a running program.

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use reflow_tracing_tests::{
    NatsServer, Port, Postgres, Redis, Service, answers, events, eventually, frames::Batch, http, patience,
};
use tokio::net::TcpStream;

use crate::programs::{ALL, outcome};

/// Records a batch; whether the answer says that it is durable.
async fn record(service: &Service) -> Result<bool> {
    let batch = Batch::new("effects", events::program(5));
    let answer = service.connect_v2().await?.ask(&batch.request()).await?;
    ensure!(answers::batch_recorded(&answer, batch.batch_id)? == (5, vec![]), "{answer}");
    answer["BatchRecorded"]["durable"].as_bool().context("nothing said of durability")
}

#[tokio::test]
async fn host_is_where_it_listens_and_nowhere_else() -> Result<()> {
    let service = Service::standalone()
        .env("REFLOW_TRACING_HOST", "127.0.0.2")
        .env("REFLOW_TRACING_METRICS__HOST", "127.0.0.1")
        .start()
        .await?;
    TcpStream::connect(("127.0.0.2", service.port())).await?;
    ensure!(TcpStream::connect(("127.0.0.1", service.port())).await.is_err(), "it listens on another address, too");
    Ok(())
}

#[tokio::test]
async fn ports_are_where_it_listens_by_variable_and_by_flag() -> Result<()> {
    let service = Service::standalone().start().await?;
    assert_eq!(http::get(service.port(), "/").await?.status, 200);
    assert_eq!(http::get(service.admin_port(), "/metrics").await?.status, 200);

    let (port, admin) = (Port::reserve()?, Port::reserve()?);
    let flagged = Service::standalone()
        .arg(format!("--port={}", port.number()))
        .arg(format!("--metrics-port={}", admin.number()))
        .spawn()?;
    eventually(patience(), || async {
        let status = http::get(port.number(), "/").await?.status;
        ensure!(status == 200, "answers {status}");
        let status = http::get(admin.number(), "/readyz").await?.status;
        ensure!(status == 200, "answers {status}");
        Ok(())
    })
    .await?;
    drop(flagged);
    Ok(())
}

#[tokio::test]
async fn backend_and_path_say_where_traces_lie() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("deep").join("mine.db");
    let sqlite = Service::standalone().sqlite(&file).start().await?;
    ensure!(record(&sqlite).await? && file.is_file(), "{} is not there", file.display());

    let memory = Service::standalone().memory().start().await?;
    ensure!(!record(&memory).await?, "memory is called durable");

    let by_default = Service::standalone().start().await?;
    ensure!(record(&by_default).await?, "the default is not durable");
    let file = by_default.folder().join("data").join("traces.db");
    ensure!(file.is_file(), "{} is not there", file.display());
    Ok(())
}

#[tokio::test]
async fn a_postgres_url_is_where_traces_lie() -> Result<()> {
    let postgres = Postgres::start().await?;
    let service = Service::standalone().postgres(&postgres.create_database("mine").await?).start().await?;
    ensure!(record(&service).await?, "Postgres is not called durable");
    assert_eq!(postgres.sql("mine", "SELECT sum(events) FROM chunks").await?, "5");
    ensure!(!service.folder().join("data/traces.db").exists(), "it wrote a file as well");
    Ok(())
}

#[tokio::test]
async fn nats_and_redis_urls_are_where_chunks_and_flows_go() -> Result<()> {
    let (nats, redis) = tokio::try_join!(NatsServer::start(), Redis::start())?;
    let service = Service::collector().nats(&nats).redis(&redis).start().await?;
    record(&service).await?;
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let stream = context.get_stream("REFLOW_CHUNKS").await?;
    assert_eq!(stream.cached_info().state.messages, 1);
    eventually(patience(), || async {
        let keys = redis.command("DBSIZE").await?;
        ensure!(keys != ":0\r\n", "nothing in Redis: {keys:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_file_by_variable_is_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "[metrics]\nendpoint = \"/figures\"\n\n[limits]\nmax_batch_events = 4\n")?;
    let service = Service::standalone().env("REFLOW_TRACING_CONFIG_FILE", file.to_string_lossy()).start().await?;
    assert_eq!(http::get(service.admin_port(), "/figures").await?.status, 200);
    assert_eq!(http::get(service.admin_port(), "/metrics").await?.status, 404);
    let mut client = service.connect_v2().await?;
    assert_eq!(client.limit("max_batch_events")?, 4);
    let reason = answers::refusal(&client.ask(&Batch::new("effects", events::program(5)).request()).await?)?;
    ensure!(reason.contains("max_batch_events"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn json_in_a_variable_is_the_whole_configuration() -> Result<()> {
    let json = r#"{"storage": {"backend": "memory"}, "limits": {"max_batch_events": 3}}"#;
    let service = Service::standalone().env("REFLOW_TRACING_CONFIG", json).start().await?;
    assert_eq!(service.connect_v2().await?.limit("max_batch_events")?, 3);
    ensure!(!service.folder().join("data/traces.db").exists(), "it wrote a file");
    Ok(())
}

#[tokio::test]
async fn flags_go_before_variables_and_variables_before_the_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "[server]\nport = 1111\n")?;
    for program in &ALL {
        let with_file = || program.good().arg("--print-config").arg("--config").arg(file.to_string_lossy());
        let with_variable = || with_file().env("REFLOW_TRACING_PORT", "2222");
        let with_json = with_file().env("REFLOW_TRACING_CONFIG", r#"{"server": {"port": 1222}}"#);
        let cases = [
            (with_file(), "port = 1111  # file"),
            (with_json, "port = 1222  # environment variable REFLOW_TRACING_CONFIG"),
            (with_variable(), "port = 2222  # environment variable REFLOW_TRACING_PORT"),
            (with_variable().arg("--set").arg("server.port=3333"), "port = 3333  # flag --set server.port"),
        ];
        for (service, line) in cases {
            let (code, output, errors) = outcome(service).await?;
            ensure!(code == Some(0) && output.contains(line), "{}: no `{line}` in\n{output}{errors}", program.name);
        }
    }
    Ok(())
}
