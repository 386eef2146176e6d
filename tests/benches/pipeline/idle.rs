//! What an idle connection costs the process that keeps it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use reflow_tracing_tests::{NatsServer, Service, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::options::Options;
use crate::report::{Figure, Goal, Report};

/// Descriptors that this process and the collector need beside the connections.
const OTHER_FILES: u64 = 300;
/// Handshakes at a time: fewer than a listener's backlog.
const AT_ONCE: usize = 100;

/// Measures a collector and the one process.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let wanted = options.pick(5_000, 200);
    let count = raise_limit(wanted as u64 + OTHER_FILES)?.saturating_sub(OTHER_FILES).min(wanted as u64) as usize;
    ensure!(count >= 100, "only {count} connections are allowed (ulimit -n)");
    let nats = NatsServer::start().await?;
    for (name, service, goal) in [
        ("collector", Service::collector().nats(&nats).start().await?, Goal::AtMost(16.0)),
        ("standalone", Service::standalone().memory().start().await?, Goal::AtMost(16.0)),
    ] {
        // What the first connections bring with them (threads, pools) is not the others' price.
        let first = connect(service.port(), AT_ONCE).await?;
        let before = service.process().resident_bytes()?;
        let connections = connect(service.port(), count).await?;
        let settled = || async {
            let used = service.process().resident_bytes()?.saturating_sub(before);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = service.process().resident_bytes()?.saturating_sub(before);
            ensure!(now.abs_diff(used) < 256 << 10, "memory still moves");
            Ok(now)
        };
        let used = eventually(Duration::from_secs(20), settled).await?;
        drop((first, connections));
        let each = used as f64 / count as f64 / 1024.0;
        let figure = Figure::new(format!("memory of an idle connection, {name}"), each, "KiB").goal(goal);
        report.figure(figure.note(format!("{count} connections")));
    }
    Ok(())
}

/// Opens connections and makes sure that a session serves each of them.
async fn connect(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let step = AT_ONCE.min(count - open.len());
        open.extend(try_join_all((0..step).map(|_| session(port))).await?);
    }
    Ok(open)
}

/// A handshake, a ping of the protocol and its answer, byte by byte: a client library's buffers would be most of this process.
async fn session(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    read_until(&mut stream, b"\r\n\r\n").await?;
    // RFC 6455, section 5.2: a final text frame of six bytes, masked with zeros.
    stream.write_all(b"\x81\x86\0\0\0\0\"Ping\"").await?;
    read_until(&mut stream, b"\"Pong\"").await?;
    Ok(stream)
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Result<()> {
    let mut got = Vec::new();
    while !got.ends_with(end) {
        let mut bytes = [0; 512];
        let read = stream.read(&mut bytes).await?;
        ensure!(read > 0, "the server hung up after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&bytes[..read]);
    }
    Ok(())
}

/// Raises our own limit of open files, which children inherit; returns what it is now. Through util-linux, because setting limits from
/// Rust needs unsafe code or one more crate.
fn raise_limit(wanted: u64) -> Result<u64> {
    let pid = std::process::id().to_string();
    // Where not even that many are allowed, as many as are.
    for limit in [format!("{wanted}:"), "hard".to_owned()] {
        if open_files()?.0 >= wanted {
            break;
        }
        let limit = if limit == "hard" { format!("{}:", open_files()?.1) } else { limit };
        std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}")]).output().ok();
    }
    Ok(open_files()?.0)
}

/// Soft and hard limit.
fn open_files() -> Result<(u64, u64)> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("no /proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}
