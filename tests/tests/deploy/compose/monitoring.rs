//! The compose file's Prometheus, as a process that finds its targets as it does in a container: by asking the name server that
//! `/etc/resolv.conf` names, which here is seen by this process alone.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Balancer, Port, Process, Prometheus, eventually, haproxy::Ports, names::NameServer, patience, process::find_program,
};

use super::cluster::Cluster;
use super::file::{bind_mounts, words};
use crate::mounts::{Mounts, quoted};

/// What a scrape has found, and the name server that targets are found by.
pub struct Monitoring {
    server: Prometheus,
    _names: NameServer,
    targets: usize,
}

/// Starts it by the service's command, with the configuration that the service mounts, in which only ports are replaced.
pub async fn prometheus(
    cluster: &mut Cluster,
    balancer: &Balancer,
    ports: &[(&str, &Ports)],
    addresses: &[(&str, &[Ipv4Addr])],
) -> Result<Monitoring> {
    // Where programs ask that read /etc/resolv.conf.
    let at = cluster.network.address();
    let names = NameServer::start_at((at, 53).into())?;
    names.set("haproxy", &[Ipv4Addr::LOCALHOST]);
    names.set("disks", &[Ipv4Addr::LOCALHOST]);
    let disks = disks(cluster)?;
    let mut targets = 2;
    for (name, replicas) in addresses {
        names.set(name, replicas);
        targets += replicas.len();
    }

    let place = cluster.place("prometheus")?;
    let resolv = place.join("resolv.conf");
    fs::write(&resolv, format!("nameserver {at}\n"))?;
    let service = cluster.service("prometheus")?;
    let mounts = bind_mounts(service)?;
    let (source, inside) =
        mounts.iter().find(|(source, _)| source.ends_with("deploy/prometheus")).context("no rules")?;
    let arguments = words(&service["command"])?;
    let configuration = place.join("etc");
    fs::create_dir(&configuration)?;
    fs::copy(format!("{source}/alerts.yml"), configuration.join("alerts.yml"))?;
    let mut text = fs::read_to_string(format!("{source}/prometheus.yml"))?;
    for (name, ports) in ports {
        let job = format!("names: [{name}]\n        type: A\n        port: ");
        ensure!(text.matches(&format!("{job}9090\n")).count() == 1, "no job {name} as docker-compose needs it");
        text = text.replace(&format!("{job}9090\n"), &format!("{job}{}\n", ports.admin.number()));
    }
    ensure!(text.matches("haproxy:8404").count() == 1, "no job haproxy");
    text = text.replace("haproxy:8404", &format!("haproxy:{}", balancer.admin_port()));
    ensure!(text.matches("disks:9100").count() == 1, "no job disks");
    text = text.replace("disks:9100", &format!("disks:{}", disks.number()));
    fs::write(configuration.join("prometheus.yml"), text)?;

    let port = Port::reserve()?;
    let data = place.join("data");
    let arguments = arguments.iter().map(|word| {
        let word = word.replace(inside, &configuration.display().to_string());
        word.replace("tsdb.path=/prometheus", &format!("tsdb.path={}", data.display()))
    });
    let spec = Mounts::default()
        .bind(&resolv, "/etc/resolv.conf".as_ref())
        .spec(&place)
        .arg(find_program("prometheus")?)
        .args(arguments)
        .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
    Ok(Monitoring { server: Prometheus::spawn(&spec, port, None).await?, _names: names, targets })
}

/// The service that tells how full disks are, with the volumes mounted where the file says.
fn disks(cluster: &mut Cluster) -> Result<Port> {
    let (place, port) = (cluster.place("disks")?, Port::reserve()?);
    let service = cluster.service("disks")?;
    let mut mounts = Mounts::default().step("mount -t tmpfs disks /mnt");
    for volume in words(&service["volumes"])? {
        let [name, at, "ro"] = volume.split(':').collect::<Vec<_>>()[..] else {
            bail!("not to be read only: {volume}")
        };
        ensure!(cluster.config["volumes"].get(name).is_some(), "no volume {name}");
        // The root of a container is its own; here a folder stands for it that only this process sees.
        let at = Path::new("/mnt").join(at.trim_start_matches('/'));
        mounts = mounts.step(&format!("mkdir -p {}", quoted(&at))).bind(&place, &at).read_only(&at);
    }
    // Of a container's processes it is the first, and reads its own mounts there.
    let own = place.join("proc");
    fs::create_dir(&own)?;
    std::os::unix::fs::symlink("/proc/self/mounts", own.join("mounts"))?;
    let spec = mounts
        .spec(&place)
        .arg(find_program("prometheus-node-exporter")?)
        .args(words(&service["command"])?)
        .arg(format!("--path.procfs={}", own.display()))
        .arg("--path.rootfs=/mnt")
        .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
    cluster.processes.insert("disks".to_owned(), Process::spawn(&spec)?);
    Ok(port)
}

/// Every target answers, what was sent is counted, and no alert fires.
pub async fn everything_is_scraped(monitoring: &Monitoring, events: f64) -> Result<()> {
    let Monitoring { server, targets, .. } = monitoring;
    let number = async |expression: &str| {
        let series = server.query(expression).await?;
        let value =
            series.first().and_then(|first| first["value"][1].as_str()).with_context(|| format!("no {expression}"))?;
        Ok::<f64, anyhow::Error>(value.parse()?)
    };
    eventually(patience(), || async {
        let up = number("sum(up)").await?;
        ensure!(up == *targets as f64 && number("count(up)").await? == up, "{up} of {targets} targets are up");
        let jobs = server.query("count by (job) (up)").await?.len();
        ensure!(jobs == 5, "{jobs} jobs instead of collector, writer, query, haproxy and disks");
        let accepted = number("sum(reflow_session_events_total{result=\"accepted\"})").await?;
        let stored = number("sum(reflow_writer_stored_events_total)").await?;
        ensure!(accepted >= events && stored >= events, "{accepted} accepted, {stored} stored");
        let servers = "min(haproxy_backend_active_servers{job=\"reflow-haproxy\",proxy=~\"collectors|queries\"})";
        let servers = number(servers).await?;
        ensure!(servers == 2.0, "haproxy sees {servers} servers");
        // What the alert asks for.
        let free =
            "node_filesystem_avail_bytes{job=\"disks\",mountpoint=~\"/volumes/.+\"} / node_filesystem_size_bytes";
        let disks = server.query(free).await?.len();
        ensure!(disks == 2, "{disks} disks instead of those of NATS and Postgres");
        Ok(())
    })
    .await?;
    for rule in server.rules().await? {
        ensure!(rule["health"] == "ok" && rule["state"] != "firing", "{rule}");
    }
    Ok(())
}
