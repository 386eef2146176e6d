//! The commands with which deploy/README.md upgrades a cluster of docker-compose, against a script in the engine's place.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::process::find_program;

use crate::image::repository;

/// The lines between the marks.
fn commands() -> Result<String> {
    let text = fs::read_to_string(repository().join("deploy/README.md"))?;
    let block = text.split_once("<!-- upgrade: tested -->\n```sh\n").context("no commands")?.1;
    Ok(block.split_once("```\n<!-- end of upgrade -->").context("they have no end")?.0.to_owned())
}

/// Two replicas of each service, healthy, of the version `old`.
fn cluster(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("healthy"))?;
    for service in ["collector", "writer", "query"] {
        let place = folder.join("containers").join(service);
        fs::create_dir_all(&place)?;
        for number in [0, 1] {
            let id = format!("old-{service}-{number}");
            fs::write(place.join(&id), "old\n")?;
            fs::write(folder.join("healthy").join(&id), "")?;
        }
    }
    fs::write(folder.join(".env"), "REFLOW_VERSION=old\nGRAFANA_PORT=3001\n")?;
    Ok(())
}

#[test]
fn the_commands_replace_one_replica_after_the_other_and_never_have_fewer_than_before() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (engine, bin) = (folder.path(), folder.path().join("bin"));
    cluster(engine)?;
    fs::create_dir(&bin)?;
    for program in ["git", "docker", "docker-compose"] {
        symlink(repository().join("tests/tests/deploy/compose/upgrade.sh"), bin.join(program))?;
    }
    // Pauses are for people's engines.
    symlink(find_program("true")?, bin.join("sleep"))?;
    let output = Command::new("bash")
        .args(["-euc", &commands()?])
        .current_dir(engine)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("ENGINE", engine)
        .output()?;
    let calls = fs::read_to_string(engine.join("calls"))?;
    ensure!(output.status.success(), "{}{calls}", String::from_utf8_lossy(&output.stderr));

    for service in ["collector", "writer", "query"] {
        let left = fs::read_dir(engine.join("containers").join(service))?;
        let versions = left.map(|entry| Ok(fs::read_to_string(entry?.path())?)).collect::<Result<Vec<_>>>()?;
        ensure!(versions == ["abc1234\n", "abc1234\n"], "{service}: {versions:?}\n{calls}");
    }
    let env = fs::read_to_string(engine.join(".env"))?;
    ensure!(env == "GRAFANA_PORT=3001\nREFLOW_VERSION=abc1234\n", "{env}");
    let at = |call: &str| calls.lines().position(|line| line.starts_with(call)).with_context(|| format!("no {call}"));
    let order = ["build", "run --rm --no-deps migrate", "ps -q writer", "ps -q query", "ps -q collector"];
    let order = order.iter().map(|call| at(&format!("docker-compose {call}"))).collect::<Result<Vec<_>>>()?;
    ensure!(order.is_sorted(), "in another order: {calls}");
    for call in calls.lines().filter_map(|line| line.strip_prefix("docker-compose ")) {
        exists(call)?;
    }
    Ok(())
}

/// The real docker-compose has these options.
fn exists(call: &str) -> Result<()> {
    let mut words = call.split(' ');
    let command = words.next().context("no command")?;
    let help = Command::new(find_program("docker-compose")?).args([command, "--help"]).output()?;
    let help = String::from_utf8(help.stdout)?;
    for option in words.filter(|word| word.starts_with('-')) {
        let named = help.split(|c: char| c.is_whitespace() || c == ',' || c == '=').any(|word| word == option);
        ensure!(named, "docker-compose {command} has no {option}");
    }
    Ok(())
}
