//! A GET, and nothing else, for `/readyz`, `/healthz`, `/metrics` and the page.
//!
//! An HTTP client crate would be the largest dependency of the tests, for one request of three lines.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whoever takes longer than this to answer a small GET is not answering.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as sent.
    pub head: String,
    /// The body, chunked or not.
    pub body: String,
}

/// GETs `http://127.0.0.1:<port><path>`.
///
/// # Errors
/// When nobody listens, when there is no answer within five seconds, or when it is not HTTP.
pub async fn get(port: u16, path: &str) -> Result<Answer> {
    tokio::time::timeout(TIMEOUT, exchange(port, path))
        .await
        .with_context(|| format!("no answer to GET {path} on port {port} within {TIMEOUT:?}"))?
        .with_context(|| format!("GET {path} on port {port} failed"))
}

async fn exchange(port: u16, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("the answer has no status: {head:?}"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

fn join_chunks(mut body: &str) -> Result<String> {
    let mut joined = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("a chunk has no size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size is not a number")?;
        if size == 0 {
            return Ok(joined);
        }
        let Some(chunk) = rest.get(..size) else {
            bail!("a chunk is shorter than it says");
        };
        joined.push_str(chunk);
        body = rest.get(size + 2..).context("a chunk has no end")?;
    }
}
