//! Bad configurations: told whole, with where each mistake stands and what to do.

use anyhow::{Result, ensure};

use crate::programs::{ALL, outcome};

#[tokio::test]
async fn every_program_tells_all_mistakes_at_once() -> Result<()> {
    for program in &ALL {
        let service = program
            .good()
            .env("REFLOW_TRACING_SERVER__PROT", "1")
            .env("REFLOW_TRACING_LIMITS__MAX_BATCH_EVENTS", "many")
            .env("REFLOW_TRACING_METRICS_PORT", "70000")
            .env("REFLOW_TRACING_STORAGE__SQLITE__SYNCHRONOUS", "sometimes");
        let (code, output, errors) = outcome(service).await?;
        ensure!(code == Some(2) && output.is_empty(), "{}: {code:?} {output}", program.name);
        for part in [
            "4 mistakes",
            "REFLOW_TRACING_SERVER__PROT",
            "REFLOW_TRACING_LIMITS__MAX_BATCH_EVENTS",
            "many",
            "REFLOW_TRACING_METRICS_PORT",
            "70000",
            "REFLOW_TRACING_STORAGE__SQLITE__SYNCHRONOUS",
            "normal",
        ] {
            ensure!(errors.contains(part), "{} does not tell {part}:\n{errors}", program.name);
        }
    }
    Ok(())
}

/// Wherever a name is written: variable, JSON in a variable, file, flag.
#[tokio::test]
async fn an_unknown_name_is_told_with_the_nearest_known_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "[limits]\nmax_batch_event = 5\n\n[strage]\nbackend = \"memory\"\n")?;
    for program in &ALL {
        let cases = [
            (program.good().env("REFLOW_TRACING_SQLITE_PAHT", "x"), "REFLOW_TRACING_SQLITE_PATH"),
            (
                program.good().env("REFLOW_TRACING_LIMITS__MAX_BATCH_EVENT", "5"),
                "REFLOW_TRACING_LIMITS__MAX_BATCH_EVENTS",
            ),
            (program.good().env("REFLOW_TRACING_CONFIG", r#"{"server": {"hots": "::1"}}"#), "server.host"),
            (program.good().env("REFLOW_TRACING_CONFIG_FILE", file.to_string_lossy()), "limits.max_batch_events"),
            (program.good().env("REFLOW_TRACING_CONFIG_FILE", file.to_string_lossy()), "storage"),
            (program.good().arg("--set").arg("metrics.prot=1"), "metrics.port"),
        ];
        for (service, nearest) in cases {
            let (code, _, errors) = outcome(service).await?;
            ensure!(code == Some(2) && errors.contains(nearest), "{}: no {nearest} in {errors}", program.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn choices_that_contradict_each_other_name_both() -> Result<()> {
    let [standalone, collector, writer, query] = &ALL;
    let cases = [
        (
            standalone
                .good()
                .env("REFLOW_TRACING_STORAGE_BACKEND", "sqlite")
                .env("REFLOW_TRACING_POSTGRES_URL", "postgres://h/d"),
            ["storage.backend", "storage.postgres.connection_url"],
        ),
        (collector.good().env("REFLOW_TRACING_BUS__KIND", "local"), ["bus.kind", "bus.nats.url"]),
        (
            query
                .bare()
                .env("REFLOW_TRACING_NATS_URL", crate::programs::NATS)
                .env("REFLOW_TRACING_STORAGE_BACKEND", "memory"),
            ["reflow-query", "memory"],
        ),
        (
            writer
                .good()
                .env("REFLOW_TRACING_STORAGE__SQLITE__JOURNAL_MODE", "delete")
                .env("REFLOW_TRACING_STORAGE__SQLITE__WAL_MODE", "true"),
            ["storage.sqlite.journal_mode", "storage.sqlite.wal_mode"],
        ),
        (
            standalone.good().env("REFLOW_TRACING_PORT", "9000").env("REFLOW_TRACING_METRICS_PORT", "9000"),
            ["server.port", "metrics.port"],
        ),
    ];
    for (service, both) in cases {
        let (code, _, errors) = outcome(service).await?;
        ensure!(code == Some(2) && both.iter().all(|name| errors.contains(name)), "{both:?}: {code:?}\n{errors}");
    }
    Ok(())
}

/// Kubernetes puts this variable into pods beside a Service that is called `reflow-tracing`.
#[tokio::test]
async fn a_port_as_kubernetes_writes_it_names_the_way_out() -> Result<()> {
    for program in &ALL {
        let (code, _, errors) = outcome(program.good().env("REFLOW_TRACING_PORT", "tcp://10.96.0.17:8080")).await?;
        ensure!(code == Some(2) && errors.contains("enableServiceLinks"), "{}: {errors}", program.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_toml_is_a_mistake() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[server]\nport = = 1\n")?;
    for (file, part) in [(folder.path().join("nowhere.toml"), "cannot read"), (broken, "line 2")] {
        let service = ALL[0].good().env("REFLOW_TRACING_CONFIG_FILE", file.to_string_lossy());
        let (code, _, errors) = outcome(service).await?;
        ensure!(code == Some(2) && errors.contains(part), "{code:?} {errors}");
    }
    Ok(())
}
