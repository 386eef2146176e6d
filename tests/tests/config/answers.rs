//! What every program answers without starting: help, version, whether its configuration is good, and what it is.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{NatsServer, Postgres, Service};

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
