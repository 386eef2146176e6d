//! What the images promise.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, NatsServer, Port, Postgres, Process, answers, cluster::DATABASE, events, eventually, frames, frames::Batch,
    patience,
};
use uuid::Uuid;

use super::{
    build::{Build, Image, dockerfile, repository},
    context,
};

/// Each image and the program that it is for.
const IMAGES: [(&str, &str); 4] = [
    ("collector", "reflow-collector"),
    ("writer", "reflow-writer"),
    ("query", "reflow-query"),
    ("standalone", "reflow-tracing"),
];

#[test]
fn what_is_pulled_is_pinned_and_can_come_from_a_mirror() -> Result<()> {
    let (arguments, stages) = dockerfile()?;
    let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let pulled: BTreeSet<_> = stages
        .iter()
        .map(|stage| stage.base.as_str())
        .filter(|base| !names.contains(base) && *base != "scratch")
        .collect();
    ensure!(pulled.into_iter().eq(arguments.values().map(String::as_str)), "an image is not named by an ARG");
    let rust = arguments.get("RUST_IMAGE").context("no RUST_IMAGE")?;
    let tag = rust.strip_prefix("rust:").context("not the official image")?;
    ensure!(tag.split('-').next().is_some_and(|version| version.split('.').count() == 3), "{rust} is not pinned");
    let least: Vec<u32> = env!("CARGO_PKG_RUST_VERSION").split('.').map(str::parse).collect::<Result<_, _>>()?;
    let is: Vec<u32> = tag.split(['.', '-']).take(2).map(str::parse).collect::<Result<_, _>>()?;
    ensure!(is >= least[..2].to_vec(), "{rust} is older than the oldest Rust that builds this");
    Ok(())
}

#[test]
fn every_image_starts_its_program_checks_its_health_and_says_what_it_is() -> Result<()> {
    let (_, stages) = dockerfile()?;
    ensure!(
        stages.last().is_some_and(|stage| stage.name == "standalone"),
        "the default is not the one-process program"
    );
    let runtime = stages.iter().find(|stage| stage.name == "runtime").context("no runtime stage")?;
    ensure!(runtime.base == "scratch", "the runtime holds more than what is copied into it");
    ensure!(runtime.labels.get("org.opencontainers.image.version").is_some_and(|v| v == env!("CARGO_PKG_VERSION")));
    ensure!(runtime.ports == ["8080", "9090"], "{:?}", runtime.ports);
    for (name, program) in IMAGES {
        let stage = stages.iter().find(|stage| stage.name == name).with_context(|| format!("no image {name}"))?;
        let program = format!("/usr/local/bin/{program}");
        ensure!(stage.base == "runtime" && stage.entrypoint.last() == Some(&program), "{:?}", stage.entrypoint);
        ensure!(stage.healthcheck.ends_with(&[program, "--health".to_owned()]), "{:?}", stage.healthcheck);
        for label in ["title", "description"] {
            ensure!(stage.labels.contains_key(&format!("org.opencontainers.image.{label}")), "{name} has no {label}");
        }
        // Only one image starts as root, and only to give that up: in its health check, too.
        let user = stage.user.as_deref().context("no USER")?;
        let dropping = |line: &[String]| line.first().is_some_and(|first| first == "/usr/local/bin/reflow-entrypoint");
        match name {
            "standalone" => {
                ensure!(user == "0:0" && dropping(&stage.entrypoint) && dropping(&stage.healthcheck));
                ensure!(stage.volumes == ["/data"], "{:?}", stage.volumes);
            }
            _ => ensure!(user == "10001:10001", "{name} runs as {user}"),
        }
    }
    Ok(())
}

#[test]
fn the_context_holds_sources_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = context::copy(repository(), folder.path())?;
    for wanted in ["Cargo.lock", "deploy/standalone/src/main.rs", "shared/store/migrations/sqlite/0001_init.sql"] {
        ensure!(files.iter().any(|file| file == wanted), "{wanted} is missing");
    }
    let odd = |file: &&String| {
        let top = file.split('/').next().unwrap_or_default();
        file.ends_with(".env") || file.ends_with(".md") || file.contains("/target/") || top.starts_with('.')
    };
    let found: Vec<_> = files.iter().filter(odd).collect();
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

/// One test for all that needs the build, which takes minutes when nothing is cached.
#[tokio::test]
async fn every_step_is_done_and_every_image_works_on_a_read_only_root() -> Result<()> {
    let mut build = Build::new(&[("PROFILE", "dev")])?;
    for (name, program) in IMAGES {
        let image = build.image(name).await?;
        holds_nothing_but_its_program(&image, program)?;
    }
    let standalone = build.image("standalone").await?;
    standalone_keeps_its_traces(&standalone).await.context("the standalone image on a folder of root's")?;
    standalone_runs_as_the_owner(&standalone).await.context("the standalone image with --user")?;
    let images = [build.image("collector").await?, build.image("writer").await?, build.image("query").await?];
    services_work_together(&standalone, &images).await
}

fn holds_nothing_but_its_program(image: &Image, program: &str) -> Result<()> {
    let programs: BTreeSet<_> = fs::read_dir(image.root.join("usr/local/bin"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let mut allowed = BTreeSet::from([program.to_owned(), "reflow-entrypoint".to_owned()]);
    allowed.retain(|name| name != "reflow-entrypoint" || image.stage.entrypoint.concat().contains(name));
    ensure!(programs == allowed, "{programs:?}");
    for shell in ["bin", "usr/bin", "sbin", "usr/sbin"] {
        ensure!(!image.root.join(shell).exists(), "there is /{shell}");
    }
    ensure!(image.root.join("etc/ssl/certs/ca-certificates.crt").is_file(), "no certificate authorities");
    Ok(())
}

/// A running container with its ports.
struct Container {
    process: Process,
    port: Port,
    admin: Port,
}

impl Container {
    async fn start(
        image: &Image,
        folder: &Path,
        user: Option<&str>,
        data: Option<&Path>,
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let (port, admin) = (Port::reserve()?, Port::reserve()?);
        let mut environment = environment.to_vec();
        environment.push(("REFLOW_TRACING_PORT", port.number().to_string()));
        environment.push(("REFLOW_TRACING_METRICS_PORT", admin.number().to_string()));
        let spec = image.container(folder, user, data, &environment, &image.stage.entrypoint)?;
        let mut process = Process::spawn(&spec)?;
        let check = image.container(folder, user, data, &environment, &image.stage.healthcheck)?;
        let healthy = eventually(patience(), || async {
            let mut check = Process::spawn(&check)?;
            let status = check.exit(patience()).await?;
            ensure!(status.success(), "the health check ends with {status}");
            Ok(())
        });
        healthy.await.with_context(|| process.tail())?;
        process.expect_running()?;
        Ok(Self { process, port, admin })
    }

    async fn send(&self, flow: &str) -> Result<Uuid> {
        let batch = Batch::new(flow, events::program(20));
        let answer = Client::connect_v2(&self.url()).await?.ask(&batch.request()).await?;
        ensure!(answers::batch_recorded(&answer, batch.batch_id)?.0 == 20, "{answer}");
        Ok(batch.trace_id)
    }

    async fn expect(&self, trace: Uuid) -> Result<()> {
        eventually(patience(), || async {
            let answer = Client::connect(&self.url()).await?.ask(&frames::get_trace(trace)).await?;
            let found = answers::trace(&answer)?.context("the trace is not there")?;
            ensure!(answers::events(found)?.len() == 20, "not all events are there");
            Ok(())
        })
        .await
        .with_context(|| self.process.tail())
    }

    async fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(patience()).await?;
        ensure!(status.code() == Some(0), "{status}: {}", self.process.tail());
        Ok(())
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port.number())
    }

    /// Who the process is now, and where it is not root any more.
    fn expect_user(&self, id: u32) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        let same = line("Uid:").split_whitespace().skip(1).all(|found| found == id.to_string());
        ensure!(same && line("CapEff:").ends_with("0000000000000000"), "{status}");
        Ok(())
    }
}

async fn standalone_keeps_its_traces(image: &Image) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?; // root's, as Docker makes it
    let first = Container::start(image, folder.path(), None, Some(&data), &[]).await?;
    first.expect_user(10_001)?;
    let trace = first.send("image").await?;
    first.stop().await?;
    ensure!(data.join("traces.db").is_file(), "the database is not in /data");
    let second = Container::start(image, folder.path(), None, Some(&data), &[]).await?;
    second.expect(trace).await?;
    ensure!(second.admin.number() != second.port.number());
    second.stop().await
}

async fn standalone_runs_as_the_owner(image: &Image) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    std::os::unix::fs::chown(&data, Some(4_321), Some(4_321))?;
    let container = Container::start(image, folder.path(), Some("4321:4321"), Some(&data), &[]).await?;
    container.expect_user(4_321)?;
    let trace = container.send("owner").await?;
    container.expect(trace).await?;
    container.stop().await
}

async fn services_work_together(standalone: &Image, images: &[Image; 3]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    postgres.create_database(DATABASE).await?;
    postgres.create_database("alone").await?;

    // -e REFLOW_TRACING_POSTGRES_URL=… is all that the one-process program needs to use Postgres.
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    let url = [("REFLOW_TRACING_POSTGRES_URL", postgres.url_of("alone"))];
    let alone = Container::start(standalone, folder.path(), None, Some(&data), &url).await?;
    let trace = alone.send("postgres").await?;
    alone.expect(trace).await?;
    ensure!(postgres.sql("alone", "SELECT sum(event_count) FROM traces").await? == "20", "it is not in Postgres");
    ensure!(!data.join("traces.db").exists(), "there is an SQLite file beside Postgres");
    alone.stop().await?;

    let environment =
        [("REFLOW_TRACING_NATS_URL", nats.url()), ("REFLOW_TRACING_POSTGRES_URL", postgres.url_of(DATABASE))];
    let [collector, writer, query] = images;
    let writer = Container::start(writer, folder.path(), None, None, &environment).await.context("writer")?;
    let query = Container::start(query, folder.path(), None, None, &environment).await.context("query")?;
    let collector =
        Container::start(collector, folder.path(), None, None, &environment[..1]).await.context("collector")?;
    for container in [&writer, &query, &collector] {
        container.expect_user(10_001)?;
    }
    let trace = collector.send("together").await?;
    query.expect(trace).await?;
    collector.stop().await?;
    query.stop().await?;
    writer.stop().await
}
