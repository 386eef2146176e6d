//! The harness itself: real servers start, keep their data over kill -9, stand still when paused, and die with the test.

mod ledger;

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use reflow_tracing_tests::{
    Client, Ending, NatsServer, Port, Postgres, Process, Proxy, Redis, events, eventually, frames, patience,
    process::{Spec, is_running},
    proxy::Observation,
};
use uuid::Uuid;

#[tokio::test]
async fn nats_keeps_its_streams_over_kill_and_restart() -> Result<()> {
    let mut server = NatsServer::start_with("max_payload: 65536").await?;
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    let config = jetstream::stream::Config {
        name: "TEST".to_owned(),
        subjects: vec!["test.>".to_owned()],
        ..Default::default()
    };
    context.create_stream(config).await?;
    for _ in 0..10 {
        context.publish("test.one", "payload".into()).await?.await?;
    }

    server.kill9().await?;
    server.restart().await?;

    let count =
        eventually(patience(), || async { Ok(context.get_stream("TEST").await?.info().await?.state.messages) }).await?;
    assert_eq!(count, 10);
    assert_eq!(context.client().server_info().max_payload, 65_536);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_answers_nothing_and_goes_on_when_resumed() -> Result<()> {
    let server = Redis::start().await?;
    server.pause().await?;
    let silent = tokio::time::timeout(Duration::from_millis(300), server.command("PING")).await;
    ensure!(silent.is_err(), "a paused server answered {silent:?}");
    server.resume()?;
    assert_eq!(server.command("PING").await?, "+PONG\r\n");
    Ok(())
}

#[tokio::test]
async fn redis_keeps_its_data_over_kill_and_restart() -> Result<()> {
    let mut server = Redis::start().await?;
    server.command("SET key value").await?;
    server.restart().await?;
    assert_eq!(server.command("GET key").await?, "$5\r\nvalue\r\n");
    Ok(())
}

#[tokio::test]
async fn postgres_keeps_its_tables_over_kill_and_restart() -> Result<()> {
    let mut server = Postgres::start_with(&[("max_connections", "17")]).await?;
    let url = server.create_database("mine").await?;
    ensure!(url.ends_with("/mine"), "{url}");
    server.sql("mine", "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL)").await?;

    server.kill9().await?;
    server.restart().await?;

    assert_eq!(server.sql("mine", "SELECT a, b FROM t ORDER BY a").await?, "1|x\n2|");
    assert_eq!(server.sql("mine", "SHOW max_connections").await?, "17");
    assert_eq!(server.sql("mine", "SHOW fsync").await?, "on");
    let refused = server.sql("mine", "SELECT * FROM nothing").await;
    ensure!(format!("{refused:?}").contains("does not exist"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn two_databases_of_one_server_know_nothing_of_each_other() -> Result<()> {
    let server = Postgres::start().await?;
    server.create_database("one").await?;
    server.create_database("two").await?;
    server.sql("one", "CREATE TABLE t (a int)").await?;
    ensure!(server.sql("two", "SELECT * FROM t").await.is_err(), "a table is seen from the other database");
    Ok(())
}

#[tokio::test]
async fn a_paused_postgres_stands_still_with_all_its_backends() -> Result<()> {
    let server = Postgres::start().await?;
    server.pause().await?;
    let silent = tokio::time::timeout(Duration::from_millis(300), server.sql("postgres", "SELECT 1")).await;
    ensure!(silent.is_err(), "a paused server answered {silent:?}");
    server.resume()?;
    assert_eq!(server.sql("postgres", "SELECT 1").await?, "1");
    Ok(())
}

#[test]
fn no_port_is_given_twice() -> Result<()> {
    let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect::<Result<_>>()?;
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
    Ok(())
}

/// Runs only as the child of the next test, which kills it: starts a server and tells where, then waits for its end.
#[tokio::test]
async fn holder_of_a_server() -> Result<()> {
    let Ok(file) = std::env::var("HARNESS_HOLDER") else {
        return Ok(());
    };
    let server = NatsServer::start().await?;
    let half_written = format!("{file}.new");
    std::fs::write(&half_written, server.process().pid().to_string())?;
    std::fs::rename(half_written, file)?;
    std::future::pending().await
}

#[tokio::test]
async fn servers_die_with_a_test_that_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pid");
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--exact", "holder_of_a_server", "--nocapture"])
        .env("HARNESS_HOLDER", &file)
        .env("TMPDIR", folder.path())
        .spawn()?;
    let server = eventually(patience(), || async { read_pid(&file) }).await?;
    ensure!(is_running(server), "the server is not there");

    holder.kill()?;
    holder.wait()?;

    eventually(patience(), || async {
        ensure!(!is_running(server), "the server outlives the test that started it");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_started_shows_its_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut process = Process::spawn(&Spec::new("/no/such/program", folder.path()))?;
    ensure!(!process.exit(patience()).await?.success(), "it ran");
    ensure!(process.tail().contains("No such file"), "{}", process.tail());
    Ok(())
}

#[tokio::test]
async fn a_failed_wait_tells_the_last_reason() -> Result<()> {
    let mut attempts = 0;
    let outcome: Result<()> = eventually(Duration::from_millis(20), || {
        attempts += 1;
        let number = attempts;
        async move { bail!("reason {number}") }
    })
    .await;
    let message = format!("{:#}", outcome.err().context("it succeeded")?);
    ensure!(message.ends_with(&format!("reason {attempts}")), "{message}");
    Ok(())
}

#[tokio::test]
async fn the_proxy_records_what_a_program_sends_and_how_it_ends() -> Result<()> {
    let server = Proxy::alone().await?;
    let proxy = Proxy::before(server.url()).await?;
    let events = events::program(20);

    let mut polite = Client::connect(proxy.url()).await?;
    for event in &events {
        polite.send_json(&frames::record_event(Uuid::new_v4(), event)).await?;
    }
    assert_eq!(polite.close().await?, Ending::Closed(None));
    let mut rude = Client::connect(proxy.url()).await?;
    rude.send_json(&frames::ping()).await?;
    rude.hang_up();

    eventually(patience(), || async {
        ensure!(server.sent().len() == 21, "{} frames arrived", server.sent().len());
        ensure!(ends(&proxy) == (1, 1), "(goodbyes, hang-ups) of the program are {:?}", ends(&proxy));
        ensure!(ends(&server) == (1, 1), "(goodbyes, hang-ups) as passed on are {:?}", ends(&server));
        Ok(())
    })
    .await?;
    assert_eq!(proxy.sent_events(), events);
    assert_eq!(server.sent_events(), events);
    Ok(())
}

fn ends(proxy: &Proxy) -> (usize, usize) {
    let record = proxy.record();
    let count = |goodbye: bool| {
        record
            .iter()
            .filter(|entry| match entry.what {
                Observation::SaidGoodbye => goodbye,
                Observation::HungUp(_) => !goodbye,
                _ => false,
            })
            .count()
    };
    (count(true), count(false))
}

fn read_pid(file: &Path) -> Result<u32> {
    Ok(std::fs::read_to_string(file).context("nothing written yet")?.trim().parse()?)
}
