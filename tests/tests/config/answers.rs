//! What every program answers without starting: help, version, whether its configuration is good, and what it is.

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{NatsServer, Postgres, Service, events, frames::Batch};

use crate::programs::{ALL, outcome};

#[tokio::test]
async fn every_program_tells_its_flags_and_its_version() -> Result<()> {
    for program in &ALL {
        let (code, help, errors) = outcome(program.bare().arg("--help")).await?;
        ensure!(code == Some(0) && errors.is_empty(), "{}: {code:?} {errors}", program.name);
        for flag in ["--config", "--host", "--port", "--metrics-port", "--set", "--check-config", "--print-config"]
            .iter()
            .chain(&["--health", "--version"])
        {
            ensure!(help.contains(flag), "{} does not tell {flag}:\n{help}", program.name);
        }
        let (code, version, _) = outcome(program.bare().arg("--version")).await?;
        ensure!(code == Some(0), "{}: {code:?}", program.name);
        assert_eq!(version.trim(), format!("{} {}", program.name, env!("CARGO_PKG_VERSION")));
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_flag_is_a_mistake_of_usage() -> Result<()> {
    for program in &ALL {
        let (code, _, errors) = outcome(program.good().arg("--prot").arg("1")).await?;
        ensure!(code == Some(2) && errors.contains("--port"), "{}: {code:?}\n{errors}", program.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_good_configuration_is_good_and_a_missing_one_says_what_to_set() -> Result<()> {
    for program in &ALL {
        let (code, _, errors) = outcome(program.good().arg("--check-config")).await?;
        ensure!(code == Some(0) && errors.contains("good"), "{}: {code:?}\n{errors}", program.name);
        // The three services have to be told where the bus is; the fourth runs as it is.
        let (code, _, errors) = outcome(program.bare().arg("--check-config")).await?;
        let expected = if program.name == "reflow-tracing" { 0 } else { 2 };
        ensure!(code == Some(expected), "{}: {code:?}\n{errors}", program.name);
        ensure!(expected == 0 || errors.contains("REFLOW_TRACING_NATS_URL"), "{}: {errors}", program.name);
    }
    Ok(())
}

/// What is printed can be used as the configuration file, and is then printed again.
#[tokio::test]
async fn the_printed_configuration_loads_back() -> Result<()> {
    let without_origins = |toml: &str| -> Vec<String> {
        toml.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect()
    };
    for program in &ALL {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("printed.toml");
        let (code, printed, errors) = outcome(program.good().arg("--print-config")).await?;
        ensure!(code == Some(0), "{}: {code:?}\n{errors}", program.name);
        std::fs::write(&file, &printed)?;
        let reload = program.bare().arg("--print-config").arg("--config").arg(file.to_string_lossy());
        let (code, again, errors) = outcome(reload).await?;
        ensure!(code == Some(0), "{} does not load what it printed: {errors}", program.name);
        assert_eq!(without_origins(&again), without_origins(&printed), "{}", program.name);
    }
    Ok(())
}

#[tokio::test]
async fn health_is_asked_of_the_running_service() -> Result<()> {
    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    let database = postgres.create_database("traces").await?;
    let running = [
        Service::standalone().start().await?,
        Service::collector().nats(&nats).start().await?,
        Service::writer().nats(&nats).postgres(&database).start().await?,
        Service::query().nats(&nats).postgres(&database).start().await?,
    ];
    for (program, mut service) in ALL.iter().zip(running) {
        let port = service.admin_port().to_string();
        let ask = || program.good().env("REFLOW_TRACING_METRICS_PORT", &port).arg("--health");
        let (code, answer, errors) = outcome(ask()).await?;
        ensure!(code == Some(0) && answer.contains("\"ready\":true"), "{}: {answer}{errors}", program.name);
        service.kill9().await?;
        let (code, _, errors) = outcome(ask()).await?;
        ensure!(code == Some(1) && errors.contains(&port), "{}: {code:?} {errors}", program.name);
    }
    Ok(())
}

#[tokio::test]
async fn one_process_tells_its_dead_letters_while_it_runs_and_afterwards() -> Result<()> {
    let postgres = Postgres::start().await?;
    let database = postgres.create_database("traces").await?;
    let folder = tempfile::tempdir()?;
    // Dead letters lie beside where the SQLite file would be.
    let program = || {
        let beside = folder.path().join("traces.db");
        Service::standalone().postgres(&database).env("REFLOW_TRACING_SQLITE_PATH", beside.to_string_lossy())
    };
    let letters = async || outcome(program().arg("dead-letters").arg("--limit").arg("1")).await;

    let mut service = program().start().await?;
    let (code, output, errors) = letters().await?;
    ensure!(
        code == Some(0) && output.is_empty() && errors.contains("0 of 0 dead letters"),
        "{code:?} {output}{errors}"
    );
    postgres.sql("traces", "ALTER TABLE traces ADD CONSTRAINT no_such_flow CHECK (flow_name <> 'bad')").await?;
    let mut client = service.connect_v2().await?;
    let bad: Vec<_> = (1..3).map(|events| Batch::new("bad", events::program(events))).collect();
    for batch in &bad {
        let answer = client.ask(&batch.request()).await?;
        ensure!(answer["Error"]["code"] == "StorageError" && answer["Error"]["retryable"] == false, "{answer}");
    }
    for running in [true, false] {
        let (code, output, errors) = letters().await?;
        ensure!(code == Some(0) && errors.contains("1 of 2 dead letters"), "{running}: {code:?} {errors}");
        let [line] = output.lines().collect::<Vec<_>>()[..] else { bail!("not one line: {output}") };
        let letter: serde_json::Value = serde_json::from_str(line)?;
        ensure!(letter["reason"].as_str().is_some_and(|reason| reason.contains("no_such_flow")), "{letter}");
        ensure!(letter["chunk"]["chunk_id"] == serde_json::json!(bad[1].batch_id), "not the newest: {letter}");
        ensure!(letter["chunk"]["events"] == 2 && letter["chunk"]["flow_id"] == "bad", "{letter}");
        if running {
            ensure!(service.terminate().await?.success(), "{}", service.process().tail());
        }
    }
    let (code, _, errors) = outcome(Service::standalone().memory().arg("dead-letters")).await?;
    ensure!(code == Some(1) && errors.contains("memory backend"), "{code:?} {errors}");
    Ok(())
}

#[tokio::test]
async fn the_writer_migrates_and_tells_dead_letters_without_running() -> Result<()> {
    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    let database = postgres.create_database("traces").await?;
    let migrate = || Service::writer().postgres(&database).arg("migrate");
    for expected in ["migrations applied", "newest schema already"] {
        let (code, output, errors) = outcome(migrate()).await?;
        ensure!(code == Some(0) && output.contains(expected), "{code:?} {output}\n{errors}");
    }
    assert_eq!(postgres.sql("traces", "SELECT count(*) FROM chunks").await?, "0");

    let writer = Service::writer().nats(&nats).postgres(&database).start().await?;
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    let taken = context.publish("reflow.chunks.default._.0", "no chunk".into()).await?;
    taken.await.context("the stream does not take it")?;
    reflow_tracing_tests::eventually(reflow_tracing_tests::patience(), || async {
        let (code, output, errors) =
            outcome(Service::writer().nats(&nats).postgres(&database).arg("dead-letters")).await?;
        ensure!(code == Some(0), "{code:?} {errors}");
        let letter: serde_json::Value = serde_json::from_str(output.lines().next().context("no dead letter")?)?;
        ensure!(letter["reason"].as_str().is_some_and(|reason| reason.contains("undecodable")), "{letter}");
        Ok(())
    })
    .await?;
    let counted = writer.metrics().await?.sum("reflow_writer_dead_letters_total", &[("reason", "undecodable")]);
    assert_eq!(counted, Some(1.0));
    Ok(())
}
