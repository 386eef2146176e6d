//! A redis-server. It writes to disk, so that a restart is a restart and not a loss.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    eventually::{eventually, patience},
    ports::Port,
    process::{Process, Spec, find_program},
};

/// A redis-server of its own: killed when dropped, its data with it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    spec: Spec,
    port: Port,
    _folder: TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When redis-server is not installed or does not come up.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir().context("no temp folder")?;
        let port = Port::reserve()?;
        let spec = Spec::new(find_program("redis-server")?, folder.path())
            .args(["--bind", "127.0.0.1", "--port", &port.number().to_string()])
            .args(["--save", "", "--appendonly", "yes"]);
        let mut server = Self { process: Process::spawn(&spec)?, spec, port, _folder: folder };
        server.ready().await?;
        Ok(server)
    }

    /// The url that clients take.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port.number())
    }

    /// The process, for its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends one inline command and gives the raw answer, for looking at what is there.
    ///
    /// # Errors
    /// When the server is not there or does not answer.
    pub async fn command(&self, command: &str) -> Result<String> {
        command_on(self.port.number(), command).await
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.terminate(patience()).await?;
        Ok(())
    }

    /// Starts it again, on the same port and the same data; kills it first if it runs.
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

    async fn ready(&mut self) -> Result<()> {
        let port = self.port.number();
        let outcome = eventually(patience(), || async {
            let answer = command_on(port, "PING").await?;
            if !answer.starts_with("+PONG") {
                bail!("answered {answer:?}");
            }
            Ok(())
        })
        .await;
        self.process.expect_running()?;
        outcome.with_context(|| format!("redis-server is not ready\n{}", self.process.tail()))
    }
}

async fn command_on(port: u16, command: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer).await?;
        answer.truncate(length);
        anyhow::Ok(String::from_utf8(answer)?)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await.context("redis does not answer")?
}
