//! What the Dockerfile promises, read from it.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};

use super::build::{Build, dockerfile};

/// Each image of a service and the program that it is for.
pub const IMAGES: [(&str, &str); 4] = [
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
fn the_demo_is_no_service_and_as_locked_in_as_one() -> Result<()> {
    let (_, stages) = dockerfile()?;
    let stage = stages.iter().find(|stage| stage.name == "demo").context("no image demo")?;
    ensure!(stage.base == "runtime" && stage.user.as_deref() == Some("10001:10001"), "{stage:?}");
    ensure!(stage.entrypoint == ["/usr/local/bin/simple_client"], "{:?}", stage.entrypoint);
    // What makes it well depends on whom it sends to: docker-compose.yml has its check.
    ensure!(stage.healthcheck.is_empty() && stage.volumes.is_empty(), "{stage:?}");
    ensure!(stage.labels.contains_key("org.opencontainers.image.description"), "{:?}", stage.labels);
    Ok(())
}

#[tokio::test]
async fn dependencies_are_built_again_only_after_a_change_of_a_manifest() -> Result<()> {
    let layer = async |file: Option<&str>| {
        let mut build = Build::new()?;
        if let Some(file) = file {
            let file = build.context().join(file);
            let text = fs::read_to_string(&file)?;
            fs::write(&file, format!("{text}\n# changed\n"))?;
        }
        build.layer("dependencies").await
    };
    let unchanged = layer(None).await?;
    for edited in ["writer/src/main.rs", "shared/store/src/lib.rs", "shared/store/migrations/sqlite/0001_init.sql"] {
        ensure!(layer(Some(edited)).await? == unchanged, "an edit of {edited} costs all dependencies");
    }
    for manifest in ["Cargo.lock", "writer/Cargo.toml"] {
        ensure!(layer(Some(manifest)).await? != unchanged, "a change of {manifest} is not seen");
    }
    Ok(())
}
