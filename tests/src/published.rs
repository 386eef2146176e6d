//! A stand-in for the published server: it answers what that answers, and knows no more.
//!
//! It takes a WebSocket without a look at the sub-protocol (so the handshake of a client that wants one fails), reads text frames, and
//! answers each with the one frame that the published server sends: `TraceStarted` with an id of its own making, `EventRecorded`,
//! `Pong`. A binary frame ends the connection: what is compressed it cannot be expected to read here.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::{accept_async, tungstenite::Message};
use uuid::Uuid;

/// The stand-in; stops when dropped.
#[derive(Debug)]
pub struct PublishedServer {
    url: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What came to the stand-in.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Text frames, in order.
    pub frames: Vec<Value>,
    /// Connections, those whose handshake failed included.
    pub connections: usize,
    /// Binary frames, each of which ended its connection.
    pub binary: usize,
}

impl PublishedServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the stand-in cannot listen")?;
        let url = format!("ws://{}/", listener.local_addr().context("the listener has no address")?);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                note(&shared, |seen| seen.connections += 1);
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { url, seen, task })
    }

    /// The address that programs connect to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PublishedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(seen: &Mutex<Seen>, what: impl FnOnce(&mut Seen)) {
    what(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let frame: Value = match message {
            Message::Text(text) => serde_json::from_str(&text).unwrap_or(Value::String(text.to_string())),
            Message::Binary(_) => return note(&seen, |seen| seen.binary += 1),
            _ => continue,
        };
        let answer = answer(&frame);
        note(&seen, |seen| seen.frames.push(frame));
        if socket.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

fn answer(frame: &Value) -> Value {
    let request = frame.as_str().or_else(|| frame.as_object()?.keys().next().map(String::as_str)).unwrap_or_default();
    match request {
        "StartTrace" => json!({"TraceStarted": {"trace_id": Uuid::new_v4()}}),
        "RecordEvent" => json!({"EventRecorded": {"success": true, "error": null}}),
        "Ping" => json!("Pong"),
        other => json!({"Error": {"message": format!("unknown variant `{other}`"), "code": "SerializationError"}}),
    }
}
