//! Processor time and memory of a process: our own, and the server's.
//!
//! The server tells its own in its metrics. One that does not (the published one) is looked up in `/proc`, if it runs on this machine:
//! the process that listens on the port. Where neither works, nothing was measured, and nothing is told.

use serde::Serialize;
use serde_json::Value;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Used {
    /// Processor time, user and system, seconds.
    pub cpu_seconds: f64,
    /// Resident memory now, bytes.
    pub memory_bytes: u64,
    /// Most resident memory so far, bytes.
    pub peak_memory_bytes: u64,
}

impl Used {
    /// From the server's own figures.
    pub fn told(figures: &Value) -> Option<Self> {
        let figure = |name| figures.get(name).and_then(Value::as_f64);
        let memory = figure("process_resident_memory_bytes")?;
        let peak = figure("process_resident_memory_peak_bytes").unwrap_or(memory);
        let cpu_seconds = figure("process_cpu_seconds_total")?;
        Some(Self { cpu_seconds, memory_bytes: memory as u64, peak_memory_bytes: peak as u64 })
    }

    /// Ours.
    pub fn ours() -> Option<Self> {
        linux::used(None)
    }

    /// Of the process that listens where this url points to, if that is here.
    pub fn listener(server_url: &str) -> Option<Self> {
        linux::used(Some(linux::listener(local_port(server_url)?)?))
    }
}

/// The port of a url of this machine.
fn local_port(server_url: &str) -> Option<u16> {
    let authority = server_url.split("://").nth(1)?.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None if server_url.starts_with("wss") => (authority, 443),
        None => (authority, 80),
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host).then_some(port)
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::{FDTarget, Process, all_processes};

    use super::Used;

    pub(super) fn used(pid: Option<i32>) -> Option<Used> {
        let process = pid.map_or_else(Process::myself, Process::new).ok()?;
        let stat = process.stat().ok()?;
        let ticks = (stat.utime + stat.stime) as f64;
        let status = process.status().ok()?;
        // The kernel counts memory in KiB here.
        let (memory_bytes, peak_memory_bytes) = (status.vmrss? * 1024, status.vmhwm? * 1024);
        Some(Used { cpu_seconds: ticks / procfs::ticks_per_second() as f64, memory_bytes, peak_memory_bytes })
    }

    pub(super) fn listener(port: u16) -> Option<i32> {
        let mut sockets = procfs::net::tcp().unwrap_or_default();
        sockets.extend(procfs::net::tcp6().unwrap_or_default());
        let listening = |socket: &procfs::net::TcpNetEntry| {
            socket.state == procfs::net::TcpState::Listen && socket.local_address.port() == port
        };
        let inode = sockets.iter().find(|socket| listening(socket))?.inode;
        let holds = |process: &Process| {
            process.fd().is_ok_and(|mut fds| {
                fds.any(|fd| fd.is_ok_and(|fd| matches!(fd.target, FDTarget::Socket(socket) if socket == inode)))
            })
        };
        all_processes().ok()?.flatten().find(holds).map(|process| process.pid)
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::Used;

    pub(super) fn used(_pid: Option<i32>) -> Option<Used> {
        None
    }

    pub(super) fn listener(_port: u16) -> Option<i32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_this_machine_have_a_local_port() {
        for (url, port) in [
            ("ws://127.0.0.1:8080/", Some(8080)),
            ("ws://localhost", Some(80)),
            ("wss://[::1]:5/a,ws://b", Some(5)),
            ("ws://tracing.example:8080", None),
        ] {
            assert_eq!(local_port(url), port, "{url}");
        }
    }

    #[test]
    fn a_server_that_tells_its_figures_is_believed() {
        let told = serde_json::json!({"process_cpu_seconds_total": 1.5, "process_resident_memory_bytes": 4096.0});
        assert_eq!(Used::told(&told), Some(Used { cpu_seconds: 1.5, memory_bytes: 4096, peak_memory_bytes: 4096 }));
        assert_eq!(Used::told(&serde_json::json!({"connections": 1})), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_that_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let used = Used::listener(&format!("ws://127.0.0.1:{port}/")).unwrap();
        assert!(used.peak_memory_bytes > 1 << 20, "{used:?}");
        drop(listener);
        assert_eq!(Used::listener(&format!("ws://127.0.0.1:{port}/")), None);
    }
}
