//! A nats-server with JetStream on file storage, as small as one test needs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

use crate::{
    eventually::{eventually, patience},
    ports::Port,
    process::{Process, Spec, find_program},
};

/// A nats-server of its own: killed when dropped, its streams with it.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    spec: Spec,
    port: Port,
    _folder: TempDir,
}

impl NatsServer {
    /// Starts one with the server's defaults.
    ///
    /// # Errors
    /// When nats-server is not installed or does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// Starts one with further lines of configuration, for example `max_payload: 65536`, or
    /// `jetstream { max_file_store: 10MB }`, which is merged with the place of the store.
    ///
    /// # Errors
    /// When nats-server is not installed or refuses the configuration.
    pub async fn start_with(extra: &str) -> Result<Self> {
        Self::start_storing_in(None, extra).await
    }

    /// Starts one whose streams lie in a folder of the caller's, for example on a disk of their own.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with).
    pub async fn start_in(store: &Path, extra: &str) -> Result<Self> {
        Self::start_storing_in(Some(store.to_owned()), extra).await
    }

    async fn start_storing_in(store: Option<PathBuf>, extra: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nats-").tempdir().context("no temp folder")?;
        let port = Port::reserve()?;
        // The store's place goes on the command line, so that `extra` may hold a jetstream block of its own.
        let configuration = folder.path().join("nats.conf");
        std::fs::write(&configuration, format!("listen: 127.0.0.1:{}\nserver_name: harness\n{extra}\n", port.number()))
            .context("cannot write nats.conf")?;
        let spec = Spec::new(find_program("nats-server")?, folder.path())
            .arg("--config")
            .arg(&configuration)
            .args(["--jetstream", "--store_dir"])
            .arg(store.unwrap_or_else(|| folder.path().join("store")));
        let mut server = Self { process: Process::spawn(&spec)?, spec, port, _folder: folder };
        server.ready().await?;
        Ok(server)
    }

    /// The url that clients take.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number())
    }

    /// The port, for standing before it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process, for its memory, its CPU time and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// SIGTERM, and waits for the end: what leads moves to other servers of a cluster first.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.terminate(patience()).await?;
        Ok(())
    }

    /// Starts it again, on the same port and the same store; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9().await?;
        self.process = Process::spawn(&self.spec)?;
        self.ready().await
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn pause(&self) -> Result<()> {
        self.process.pause().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// The server greets with its INFO as soon as it listens, which it does when its streams are recovered.
    async fn ready(&mut self) -> Result<()> {
        let port = self.port.number();
        let deadline = tokio::time::Instant::now() + patience();
        loop {
            self.process.expect_running()?;
            let attempt = eventually(Duration::from_millis(200), || async {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).await?;
                if !line.contains("\"jetstream\":true") {
                    bail!("the server does not offer JetStream: {line}");
                }
                Ok(())
            })
            .await;
            match attempt {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("nats-server is not ready\n{}", self.process.tail()));
                }
                Err(_) => {}
            }
        }
    }
}
