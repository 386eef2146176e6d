//! A stand-in for the published server: it answers what that answers, and knows no more.
//!
//! Written after `crates/reflow_tracing/src/server.rs` of the published repository (offbit-ai/reflow), with that server's defaults:
//!
//! - It takes a WebSocket without a look at the sub-protocol, so the handshake of a client that wants one fails.
//! - It reads text frames and answers each with one, in order; answers of more than 1 KiB are compressed (zstd, a binary frame).
//! - `StartTrace` gets an id of its own making, and an event is passed to subscribers and forgotten. Only `StoreTrace` keeps anything.
//! - Subscriptions are filtered by actor and by type to the letter, not by flow. Who is too slow is not told what he missed.
//! - The total of a list is how many traces are in it. `EndTrace` and whatever else is newer is an invalid message.
//!
//! A binary frame ends the connection here: what our client compresses it cannot be expected to read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, FixedOffset};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::{accept_async, tungstenite::Message};
use uuid::Uuid;

/// Answers that are longer are compressed.
const COMPRESSED_FROM: usize = 1024;
/// Live events that may wait for a subscriber.
const LIVE_EVENTS: usize = 1_000;

/// The stand-in; stops when dropped.
#[derive(Debug)]
pub struct PublishedServer {
    url: String,
    shared: Arc<Shared>,
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

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    /// From `StoreTrace`.
    traces: Mutex<Vec<Value>>,
    /// `EventNotification`s.
    live: broadcast::Sender<Value>,
}

impl PublishedServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the stand-in cannot listen")?;
        let url = format!("ws://{}/", listener.local_addr().context("the listener has no address")?);
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            traces: Mutex::default(),
            live: broadcast::channel(LIVE_EVENTS).0,
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                lock(&serving.seen).connections += 1;
                connections.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Ok(Self { url, shared, task })
    }

    /// The address that programs connect to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// Keeps a whole trace, as `StoreTrace` does.
    pub fn store(&self, trace: Value) {
        lock(&self.shared.traces).push(trace);
    }
}

impl Drop for PublishedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let mut live = shared.live.subscribe();
    // Of this connection's subscription, if it has one.
    let mut filters: Option<Value> = None;
    loop {
        let told = tokio::select! {
            message = socket.next() => {
                let frame: Value = match message {
                    Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap_or(Value::Null),
                    Some(Ok(Message::Binary(_))) => {
                        lock(&shared.seen).binary += 1;
                        return;
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                };
                let answer = answer(&frame, &shared, &mut filters);
                lock(&shared.seen).frames.push(frame);
                compressed(answer.to_string())
            }
            notification = live.recv() => match (&filters, notification) {
                (Some(filters), Ok(notification)) if passes(filters, &notification) => {
                    Message::text(json!({ "EventNotification": notification }).to_string())
                }
                _ => continue,
            },
        };
        if socket.send(told).await.is_err() {
            return;
        }
    }
}

fn compressed(answer: String) -> Message {
    match answer.len() {
        ..=COMPRESSED_FROM => Message::text(answer),
        _ => zstd::encode_all(answer.as_bytes(), 3).map_or_else(|_| Message::text(answer), Message::binary),
    }
}

fn answer(frame: &Value, shared: &Shared, filters: &mut Option<Value>) -> Value {
    let (request, body) = match frame {
        Value::String(name) => (name.as_str(), &Value::Null),
        Value::Object(object) => object.iter().next().map_or(("", &Value::Null), |(name, body)| (name.as_str(), body)),
        _ => ("", &Value::Null),
    };
    let recorded = json!({"EventRecorded": {"success": true, "error": null}});
    match request {
        "StartTrace" => json!({"TraceStarted": {"trace_id": Uuid::new_v4()}}),
        "RecordEvent" => {
            // Fails when nobody is connected, and somebody is: whoever has sent this.
            let _ = shared.live.send(json!({"trace_id": body["trace_id"], "event": body["event"]}));
            recorded
        }
        "StoreTrace" => {
            lock(&shared.traces).push(body["trace"].clone());
            json!({"TraceStored": {"trace_id": body["trace"]["trace_id"]}})
        }
        "GetTrace" => {
            let traces = lock(&shared.traces);
            json!({"TraceData": {"trace": traces.iter().find(|trace| trace["trace_id"] == body["trace_id"])}})
        }
        "QueryTraces" => {
            let traces = found(&lock(&shared.traces), &body["query"]);
            json!({"QueryResults": {"total_count": traces.len(), "traces": traces}})
        }
        "GetFlowVersions" => {
            json!({"Error": {"message": "GetFlowVersions not implemented yet", "code": "NotFound"}})
        }
        "Ping" => json!("Pong"),
        "Subscribe" => {
            *filters = Some(body["filters"].clone());
            recorded
        }
        "Unsubscribe" => {
            *filters = None;
            recorded
        }
        "GetMetrics" => {
            let (messages, stored) = (lock(&shared.seen).frames.len(), lock(&shared.traces).len());
            json!({"Metrics": {"data": {"messages_received": messages, "traces_stored": stored, "errors_total": 0}}})
        }
        _ => json!({"Error": {"message": "Invalid message format"}}),
    }
}

/// Newest start first.
fn found(traces: &[Value], query: &Value) -> Vec<Value> {
    let fits = |trace: &Value| {
        let exact = ["flow_id", "execution_id", "status"];
        let actors = || trace["events"].as_array().into_iter().flatten().filter_map(|event| event["actor_id"].as_str());
        exact.iter().all(|name| query[name].is_null() || query[name] == trace[name])
            && query["actor_filter"].as_str().is_none_or(|part| actors().any(|actor| actor.contains(part)))
            && query["time_range"].as_array().is_none_or(|range| {
                let start = time(&trace["start_time"]);
                range.first().and_then(time) <= start && start <= range.last().and_then(time)
            })
    };
    let number = |name: &str| query[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let mut found: Vec<Value> = traces.iter().filter(|trace| fits(trace)).cloned().collect();
    found.sort_by_key(|trace| std::cmp::Reverse(time(&trace["start_time"])));
    found.into_iter().skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(usize::MAX)).collect()
}

fn time(value: &Value) -> Option<DateTime<FixedOffset>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok()
}

fn passes(filters: &Value, notification: &Value) -> bool {
    let within = |filter: &str, value: &Value| filters[filter].as_array().is_none_or(|list| list.contains(value));
    let event = &notification["event"];
    within("actor_ids", &event["actor_id"]) && within("event_types", &event["event_type"])
}
