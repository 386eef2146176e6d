//! What one session may do, over a real socket: each limit set low, met exactly, and told by its name.

mod bystanders;
mod history;
mod silence;
mod slow;
mod subscriptions;
mod traces;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, Service, eventually, patience};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::WebSocketStream;

/// A client of either protocol.
async fn connect(service: &Service, v2: bool) -> Result<Client> {
    if v2 { service.connect_v2().await } else { service.connect().await }
}

/// What a peer that answers nothing, neither pings nor the goodbye, is sent until the server ends the connection.
async fn sent_until_the_end(mut socket: WebSocketStream<TcpStream>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(patience(), socket.get_mut().read_to_end(&mut bytes)).await;
    end.context("the server does not end the connection")?.context("the connection broke")?;
    Ok(bytes)
}

/// The last frame is a goodbye for the peer's breaking a rule (1008) that names the setting.
fn ensure_goodbye(bytes: &[u8], setting: &str) -> Result<()> {
    let text = String::from_utf8_lossy(bytes);
    let policy = 1008_u16.to_be_bytes();
    let at = bytes.windows(2).rposition(|two| two == policy).with_context(|| format!("no goodbye in {text}"))?;
    ensure!(String::from_utf8_lossy(&bytes[at..]).contains(setting), "{setting} is not named in {text}");
    Ok(())
}

/// Returns once so many sessions have ended for a reason.
async fn ended(service: &Service, reason: &str, sessions: f64) -> Result<()> {
    eventually(patience(), || async {
        let ended = service.metrics().await?.sum("reflow_session_ended_total", &[("reason", reason)]);
        ensure!(ended == Some(sessions), "{ended:?} sessions ended as {reason}");
        Ok(())
    })
    .await
}

fn seconds(duration: Duration) -> String {
    duration.as_secs().to_string()
}
