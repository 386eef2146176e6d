//! A password is in no output: not printed, not in an error, not in a log.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{ServiceBuilder, eventually, patience};

use crate::programs::{ALL, outcome};

const PASSWORD: &str = "hunter2";
const URLS: [(&str, &str); 4] = [
    ("REFLOW_TRACING_NATS_URL", "nats://user:hunter2@127.0.0.1:1"),
    ("REFLOW_TRACING_POSTGRES_URL", "postgres://user:hunter2@127.0.0.1:1/traces?connect_timeout=1"),
    ("REFLOW_TRACING_REDIS_URL", "redis://user:hunter2@127.0.0.1:1"),
    ("REFLOW_TRACING_TELEMETRY__OTLP_ENDPOINT", "http://user:hunter2@127.0.0.1:1"),
];

fn with_passwords(service: ServiceBuilder) -> ServiceBuilder {
    URLS.iter().fold(service, |service, (key, value)| service.env(key, *value))
}

#[tokio::test]
async fn passwords_are_in_no_output() -> Result<()> {
    let [_, collector, writer, query] = &ALL;
    for program in [collector, writer, query] {
        let cases = [
            with_passwords(program.bare()).arg("--print-config"),
            with_passwords(program.bare()).arg("--check-config"),
            // With mistakes beside them, and with themselves being the mistake.
            with_passwords(program.bare()).env("REFLOW_TRACING_STORAGE_BACKEND", "sqlite"),
            with_passwords(program.bare()).env("REFLOW_TRACING_NATS_URL", "user:hunter2@127.0.0.1:4222"),
            with_passwords(program.bare()).env("REFLOW_TRACING_POSTGRES_URL", "mysql://user:hunter2@127.0.0.1/x"),
            with_passwords(program.bare()).arg("--set").arg("redis.url=hunter2"),
            with_passwords(program.bare()).arg("--set").arg("hunter2"),
            with_passwords(program.bare()).arg("--set").arg("postgres://u:hunter2@h/d?sslmode=require"),
            with_passwords(program.bare()).arg("--set").arg("redis.url redis://u:hunter2@h?x=1"),
            with_passwords(program.bare()).arg("postgres://u:hunter2@h/d"),
            program.good().env("REFLOW_TRACING_CONFIG", r#"{"redis": {"url": ["hunter2"]}}"#),
        ];
        for (number, case) in cases.into_iter().enumerate() {
            let (code, output, errors) =
                outcome(case).await.with_context(|| format!("{}: case {number}", program.name))?;
            ensure!(code == Some(if number < 2 { 0 } else { 2 }), "{}: case {number}: {code:?}", program.name);
            ensure!(!output.contains(PASSWORD), "{}: case {number}: {output}", program.name);
            ensure!(!errors.contains(PASSWORD), "{}: case {number}: {errors}", program.name);
        }
        let (_, output, _) = outcome(with_passwords(program.bare()).arg("--print-config")).await?;
        ensure!(
            output.contains("nats://user:***@127.0.0.1:1") || output.contains("nats://***@127.0.0.1:1"),
            "{output}"
        );
    }
    Ok(())
}

/// Nobody is behind the URLs, so that every connection fails and says so, again and again.
#[tokio::test]
async fn passwords_are_in_no_log() -> Result<()> {
    let [_, collector, writer, query] = &ALL;
    for program in [collector, writer, query] {
        let service = with_passwords(program.bare()).env("RUST_LOG", "trace").spawn()?;
        eventually(patience(), || async {
            let log = service.process().log()?;
            ensure!(log.contains("cannot connect") || log.contains("refused"), "no word of the outage:\n{log}");
            Ok(())
        })
        .await?;
        let log = service.process().log()?;
        let line = log.lines().find(|line| line.contains(PASSWORD));
        ensure!(line.is_none(), "{}: {line:?}", program.name);
    }
    Ok(())
}
