//! What the compose files promise, read from what docker-compose makes of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::Service;
use serde_json::{Value, json};

use super::file::{CLUSTER, SERVICES, STANDALONE, bind_mounts, config, environment, seconds, services, words};
use crate::image::{dockerfile, repository};

#[test]
fn both_folders_start_the_same_services() -> Result<()> {
    let [deploy, examples] = [config(CLUSTER[0], &[])?, config(CLUSTER[1], &[])?];
    ensure!(deploy["services"] == examples["services"], "the files differ");
    ensure!(deploy["volumes"] == examples["volumes"], "the volumes differ");
    let names: Vec<_> = services(&deploy)?.into_keys().collect();
    let wanted = "collector demo disks grafana haproxy migrate nats postgres prometheus query redis writer";
    ensure!(names.join(" ") == wanted, "{names:?}");
    ensure!(deploy["services"]["demo"]["profiles"] == json!(["demo"]), "the demo is started unasked");
    Ok(())
}

#[test]
fn services_start_once_what_they_need_is_healthy() -> Result<()> {
    let config = config(CLUSTER[0], &[])?;
    let services = services(&config)?;
    let needs = |name: &str| -> Result<Vec<(String, String)>> {
        let needed = services[name]["depends_on"].as_object().into_iter().flatten();
        needed
            .map(|(on, how)| Ok((on.clone(), how["condition"].as_str().context("no condition")?.to_owned())))
            .collect()
    };
    for name in services.keys() {
        for (on, condition) in needs(name)? {
            match condition.as_str() {
                "service_healthy" => ensure!(services[on.as_str()]["healthcheck"]["test"].is_array(), "{on}: no check"),
                "service_completed_successfully" => ensure!(on == "migrate", "{name} waits for the end of {on}"),
                other => anyhow::bail!("{name} needs {on}: {other}"),
            }
        }
    }
    for (name, on) in [
        ("migrate", "postgres"),
        ("writer", "migrate"),
        ("writer", "nats"),
        ("query", "migrate"),
        ("collector", "nats"),
        ("haproxy", "collector"),
        ("demo", "haproxy"),
    ] {
        ensure!(needs(name)?.iter().any(|(needed, _)| needed == on), "{name} does not wait for {on}");
    }
    Ok(())
}

#[test]
fn whoever_stays_has_a_health_check() -> Result<()> {
    for file in [CLUSTER[0], STANDALONE] {
        let config = config(file, &[])?;
        for (name, service) in services(&config)? {
            // The migration comes to an end instead.
            ensure!(name == "migrate" || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        }
    }
    Ok(())
}

#[test]
fn nothing_is_reachable_from_other_machines() -> Result<()> {
    for file in [CLUSTER[0], STANDALONE] {
        let config = config(file, &[])?;
        for (name, service) in services(&config)? {
            for port in words(&service["ports"])? {
                ensure!(port.starts_with("127.0.0.1:"), "{file}: {name} publishes {port}");
            }
            ensure!(service["network_mode"].is_null() && service["privileged"].is_null(), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn whoever_drains_is_given_longer_than_the_drain_takes() -> Result<()> {
    let (_, settings, _) = Service::standalone().arg("--print-config").run_to_end().await?;
    let deadline = settings.lines().find_map(|line| line.trim().strip_prefix("drain_deadline_secs = "));
    let deadline = deadline.and_then(|text| text.split_whitespace().next()).context(settings.clone())?;
    let deadline: u64 = deadline.parse()?;
    for (file, names) in [(CLUSTER[0], &["collector", "writer", "query"][..]), (STANDALONE, &["reflow-tracing"])] {
        let config = config(file, &[])?;
        for name in names {
            let grace = seconds(&config["services"][name]["stop_grace_period"])?;
            ensure!(grace >= deadline + 5, "{name} is killed after {grace} s and drains for up to {deadline} s");
        }
    }
    let config = config(CLUSTER[0], &[])?;
    let grace = seconds(&config["services"]["haproxy"]["stop_grace_period"])?;
    let text = fs::read_to_string(repository().join("deploy/haproxy/haproxy.cfg"))?;
    let hard = text.lines().find_map(|line| line.trim().strip_prefix("hard-stop-after ")).context("no hard stop")?;
    ensure!(seconds(&Value::from(hard))? < grace, "HAProxy cuts after {hard} and is killed after {grace} s");
    ensure!(config["services"]["haproxy"]["stop_signal"] == "SIGUSR1", "HAProxy is told to stop at once");
    Ok(())
}

#[test]
fn everybody_comes_back_and_nobody_has_rights() -> Result<()> {
    for file in [CLUSTER[0], STANDALONE] {
        let config = config(file, &[])?;
        for (name, service) in services(&config)? {
            let restart = if name == "migrate" { "on-failure" } else { "unless-stopped" };
            ensure!(service["restart"] == restart, "{name}: {}", service["restart"]);
            ensure!(service["read_only"] == true && service["cap_drop"] == json!(["ALL"]), "{name} has rights");
            ensure!(service["security_opt"] == json!(["no-new-privileges:true"]), "{name} may gain rights");
            ensure!(service["cap_add"].is_null(), "{name} is given rights: {}", service["cap_add"]);
            // Whose image starts as root and takes over its folder needs rights for that. Everybody else is somebody by himself.
            let user = match name {
                "postgres" | "redis" => json!(name),
                "reflow-tracing" => json!("10001:10001"),
                _ => Value::Null,
            };
            ensure!(service["user"] == user, "{name} runs as {}", service["user"]);
        }
    }
    Ok(())
}

#[test]
fn images_are_pinned_and_ours_are_built_from_stages_that_exist() -> Result<()> {
    let stages: BTreeSet<_> = dockerfile()?.1.into_iter().map(|stage| stage.name).collect();
    for file in [CLUSTER[0], CLUSTER[1], STANDALONE] {
        let config = config(file, &[])?;
        let services = services(&config)?;
        for (name, service) in &services {
            let image = service["image"].as_str().context("no image")?;
            let (_, tag) = image.rsplit_once(':').with_context(|| format!("{name}: {image} has no tag"))?;
            if let Some(build) = built(&services, service)? {
                let target = build["target"].as_str().context("no target")?;
                ensure!(stages.contains(target), "{name}: the Dockerfile has no stage {target}");
                ensure!(build["context"] == repository().display().to_string(), "{name}: {}", build["context"]);
            } else {
                let version = tag.trim_start_matches('v').split('-').next().unwrap_or_default();
                ensure!(
                    version.contains('.') && version.split('.').all(|n| n.parse::<u32>().is_ok()),
                    "{name}: {image}"
                );
            }
            for (source, target) in bind_mounts(service)? {
                ensure!(Path::new(&source).exists(), "{name}: nothing at {source} to mount at {target}");
            }
        }
    }
    Ok(())
}

/// How a service's image is built, be it by another service that names the same image; none for an image of others.
fn built<'a>(services: &BTreeMap<&str, &'a Value>, service: &Value) -> Result<Option<&'a Value>> {
    let builders: Vec<_> =
        services.values().filter(|other| other["build"].is_object() && other["image"] == service["image"]).collect();
    ensure!(builders.len() <= 1, "built {} times at once under one name: {}", builders.len(), service["image"]);
    Ok(builders.first().map(|builder| &builder["build"]))
}

#[test]
fn an_image_is_built_by_one_service_before_the_others_that_use_it_start() -> Result<()> {
    for file in [CLUSTER[0], CLUSTER[1], STANDALONE] {
        let config = config(file, &[])?;
        let services = services(&config)?;
        let mut named = 0;
        for (name, service) in &services {
            if built(&services, service)?.is_some() && service["build"].is_null() {
                named += 1;
                // 1.29 builds in this order, and pulls what is not there when its turn has come.
                let needs = service["depends_on"].as_object().with_context(|| format!("{name} waits for nobody"))?;
                let builder = needs.keys().find(|on| services[on.as_str()]["image"] == service["image"]);
                ensure!(builder.is_some(), "{name} does not wait for who builds {}", service["image"]);
            }
        }
        ensure!(file == STANDALONE || named == 1, "{file}: {named} services use an image that another one builds");
    }
    Ok(())
}

#[test]
fn a_configuration_that_is_read_again_is_mounted_as_a_folder() -> Result<()> {
    let config = config(CLUSTER[0], &[])?;
    // Each takes a signal or looks by itself (README: HAProxy, Grafana's dashboards).
    for (name, inside) in [
        ("haproxy", "/usr/local/etc/haproxy/haproxy.cfg"),
        ("prometheus", "/etc/prometheus/prometheus.yml"),
        ("grafana", "/var/lib/grafana/dashboards/reflow-tracing.json"),
    ] {
        let found = bind_mounts(&config["services"][name])?
            .into_iter()
            .find_map(|(source, target)| Some(Path::new(&source).join(Path::new(inside).strip_prefix(target).ok()?)));
        let file = found.with_context(|| format!("{name}: {inside} is not mounted"))?;
        ensure!(file.is_file(), "{name}: {inside} is {} there, not a file in a mounted folder", file.display());
    }
    Ok(())
}

#[test]
fn replicas_can_be_any_number() -> Result<()> {
    let config = config(CLUSTER[0], &[])?;
    for name in ["collector", "writer", "query"] {
        let service = &config["services"][name];
        ensure!(service["scale"] == 2, "{name} runs {} times", service["scale"]);
        ensure!(service["container_name"].is_null() && service["ports"].is_null(), "{name} can be there only once");
        ensure!(service["volumes"].is_null(), "{name} keeps something");
    }
    Ok(())
}

#[test]
fn passwords_come_from_variables_and_the_sample_names_every_variable() -> Result<()> {
    let secrets = [
        ("POSTGRES_PASSWORD", "pa1"),
        ("NATS_PASSWORD", "pa2"),
        ("REDIS_PASSWORD", "pa3"),
        ("GRAFANA_PASSWORD", "pa4"),
    ];
    let config = config(CLUSTER[0], &secrets)?;
    for (name, service) in services(&config)? {
        for (key, value) in environment(service) {
            let secret = ["PASSWORD", "AUTH"].iter().any(|part| key.contains(part)) || value.contains('@');
            let set = secrets.iter().any(|(_, password)| value.contains(password));
            ensure!(!secret || set, "{name}: {key}={value}");
        }
    }
    let text = fs::read_to_string(repository().join(SERVICES))? + &fs::read_to_string(repository().join(STANDALONE))?;
    let used: BTreeSet<_> = text
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}')?.0.split_once(":-"))
        .map(|(name, default)| format!("{name}={default}"))
        .collect();
    let sample = fs::read_to_string(repository().join("deploy/.env.sample"))?;
    let named: BTreeSet<_> = sample.lines().filter(|line| line.contains('=') && !line.starts_with('#')).collect();
    ensure!(used.iter().map(String::as_str).eq(named.iter().copied()), "used: {used:?}\nin the sample: {named:?}");
    Ok(())
}
