//! nats-server and redis-server for one test each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;
use super::process::{free_port, signal, spawn};

struct Server {
    program: &'static str,
    port: u16,
    folder: TempDir,
    child: Child,
    args: fn(u16, &TempDir) -> Vec<String>,
    is_ready: fn(u16) -> bool,
}

impl Server {
    fn start(
        program: &'static str,
        args: fn(u16, &TempDir) -> Vec<String>,
        is_ready: fn(u16) -> bool,
        folder: TempDir,
    ) -> Self {
        let port = free_port();
        let child = spawn(program, &args(port, &folder));
        let mut server = Self { program, port, folder, child, args, is_ready };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while !(self.is_ready)(self.port) {
            assert!(self.child.try_wait().unwrap().is_none(), "{} ended at its start", self.program);
            assert!(start.elapsed() < PATIENCE, "{} does not become ready", self.program);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.program, &(self.args)(self.port, &self.folder));
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct NatsServer(Server);

impl NatsServer {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With lines of its configuration file.
    pub fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        Self(Server::start("nats-server", nats_args, nats_is_ready, folder))
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.0.port)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Ends it in order: what it knows is on disk.
    pub fn stop(&mut self) {
        signal(&self.0.child, "TERM");
        self.0.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.0.start_again();
    }

    /// Where it keeps a stream's messages.
    pub fn messages(&self, stream: &str) -> PathBuf {
        self.0.folder.path().join("data/jetstream/$G/streams").join(stream).join("msgs")
    }

    /// Where it notes what a consumer waits for.
    pub fn consumer_note(&self, stream: &str, consumer: &str) -> PathBuf {
        self.0.folder.path().join("data/jetstream/$G/streams").join(stream).join("obs").join(consumer).join("o.dat")
    }
}

fn nats_args(port: u16, folder: &TempDir) -> Vec<String> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let args = ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &path("data"), "-c", &path("nats.conf")];
    args.map(str::to_owned).to_vec()
}

fn nats_is_ready(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut line = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO")
}

pub struct RedisServer(Server);

impl RedisServer {
    pub fn start() -> Self {
        Self(Server::start("redis-server", redis_args, redis_is_ready, tempfile::tempdir().unwrap()))
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    pub fn start_again(&mut self) {
        self.0.start_again();
    }

    pub fn pause(&self) {
        signal(&self.0.child, "STOP");
    }

    pub fn resume(&self) {
        signal(&self.0.child, "CONT");
    }

    /// One command without arguments that need quoting; the whole answer as text.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port)).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.trim_end_matches("+OK\r\n").to_owned()
    }
}

fn redis_args(port: u16, folder: &TempDir) -> Vec<String> {
    let folder = folder.path().display().to_string();
    let port = port.to_string();
    let args = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", "", "--appendonly", "no"];
    args.map(str::to_owned).to_vec()
}

fn redis_is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG"
}
