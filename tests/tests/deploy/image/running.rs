//! What the images do when they run.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, NatsServer, Port, Postgres, Process, answers, cluster::DATABASE, events, eventually, frames, frames::Batch,
    patience,
};
use uuid::Uuid;

use super::{build::Build, container::Image, promises::IMAGES};

/// One test for all that needs the build, which takes minutes when nothing is cached.
#[tokio::test]
async fn every_step_is_done_and_every_image_works_on_a_read_only_root() -> Result<()> {
    let mut build = Build::new()?;
    for (name, program) in IMAGES {
        let image = build.image(name).await?;
        let mut programs = vec![program];
        programs.extend(image.stage.entrypoint.concat().contains("reflow-entrypoint").then_some("reflow-entrypoint"));
        holds_nothing_but(&image, &programs)?;
    }
    let dependencies = build.image("dependencies").await?.root.join("src/target/release/deps");
    let compiled = |name: &str| -> Result<bool> {
        let files = fs::read_dir(&dependencies)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok(files.iter().any(|file| file.file_name().to_string_lossy().starts_with(name)))
    };
    ensure!(compiled("libtokio-")? && compiled("libsqlx_core-")?, "dependencies are not in their layer");
    ensure!(!compiled("libreflow_tracing_")? && !compiled("reflow_writer-")?, "ours are in the layer of dependencies");
    let standalone = build.image("standalone").await?;
    standalone_keeps_its_traces(&standalone).await.context("the standalone image on a folder of root's")?;
    standalone_runs_as_the_owner(&standalone).await.context("the standalone image with --user")?;
    let images = [build.image("collector").await?, build.image("writer").await?, build.image("query").await?];
    services_work_together(&standalone, &images).await?;
    let demo = build.image("demo").await?;
    holds_nothing_but(&demo, &["performance_test", "query_client", "simple_client"])?;
    demo_programs_send_and_find(&standalone, &demo).await.context("the demo image")
}

fn holds_nothing_but(image: &Image, programs: &[&str]) -> Result<()> {
    let found: BTreeSet<_> = fs::read_dir(image.root.join("usr/local/bin"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(found == programs.iter().map(|program| (*program).to_owned()).collect(), "{found:?}");
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

/// The program that the image starts sends; the other two make load and find what was sent.
async fn demo_programs_send_and_find(standalone: &Image, demo: &Image) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    let server = Container::start(standalone, folder.path(), None, Some(&data), &[]).await?;
    let run = async |program: &str, arguments: &[&str]| {
        let mut command = vec![program.to_owned(), "--server-url".to_owned(), server.url()];
        command.extend(arguments.iter().map(|word| (*word).to_owned()));
        let mut process = Process::spawn(&demo.container(folder.path(), None, None, &[], &command)?)?;
        let status = process.exit(patience()).await?;
        ensure!(status.success(), "{program} ends with {status}: {}", process.tail());
        anyhow::Ok(())
    };
    run(&demo.stage.entrypoint[0], &["--flow-name", "demo", "--count", "5", "--delay", "0ms"]).await?;
    run("/usr/local/bin/performance_test", &["--messages", "1000"]).await?;
    eventually(patience(), || run("/usr/local/bin/query_client", &["--flow-id", "demo", "--limit", "1", "--expect"]))
        .await?;
    server.stop().await
}
