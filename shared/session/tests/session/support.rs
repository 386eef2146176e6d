//! A server, its writer, and clients.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reflow_tracing_bus::{
    Bus, Directory, DirectoryOptions, HistoryClient, LocalBus, LocalOptions, MemoryDirectory, PullLimits,
};
use reflow_tracing_chunk::{Chunk, decode_events};
use reflow_tracing_protocol::{SUBPROTOCOL_V2, TraceEvent};
use reflow_tracing_service::metrics::Metrics;
use reflow_tracing_session::{Capabilities, Server, SessionLimits, SessionMetrics};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A server whose commits can be held back.
pub(crate) struct Fixture {
    pub(crate) address: String,
    pub(crate) metrics: Metrics,
    pub(crate) stored: Arc<Mutex<Vec<Chunk>>>,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<reflow_tracing_session::DrainOutcome>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(SessionLimits::default(), true).await
    }

    pub(crate) async fn with(limits: SessionLimits, ingest: bool) -> Self {
        Self::build(limits, ingest, None).await
    }

    /// A server that asks this history.
    pub(crate) async fn with_history(limits: SessionLimits, history: Arc<dyn HistoryClient>) -> Self {
        Self::build(limits, true, Some(history)).await
    }

    async fn build(limits: SessionLimits, ingest: bool, history: Option<Arc<dyn HistoryClient>>) -> Self {
        let bus = Arc::new(LocalBus::try_new(LocalOptions::default()).await.unwrap());
        let stored: Arc<Mutex<Vec<Chunk>>> = Arc::default();
        let (gate, mut open) = watch::channel(true);
        let mut consumer = bus.consumer().await.unwrap();
        let keep = Arc::clone(&stored);
        tokio::spawn(async move {
            let limits = PullLimits {
                max_messages: 100,
                max_bytes: 1 << 20,
                linger: Duration::ZERO,
                max_wait: Duration::from_secs(1),
            };
            while let Ok(deliveries) = consumer.pull(&limits).await {
                if open.wait_for(|open| *open).await.is_err() {
                    return;
                }
                for delivery in deliveries {
                    keep.lock().await.push(Chunk::decode(delivery.message).unwrap());
                    delivery.acker.ack().await.unwrap();
                }
            }
        });
        let directory: Arc<dyn Directory> = Arc::new(MemoryDirectory::new(DirectoryOptions::default()));
        let capabilities = Capabilities {
            ingest: ingest.then(|| Arc::clone(&bus) as Arc<dyn Bus>),
            history,
            tail: Some(bus),
            directory,
            figures: Arc::new(|| json!({"answer": 42})),
            durable: true,
            service: "reflow-test",
        };
        let all = Metrics::try_new("test").unwrap();
        let metrics = SessionMetrics::register(&all).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let served = tokio::spawn(Server::new(capabilities, limits, metrics).serve(listener, stop.clone()));
        Self { address, metrics: all, stored, gate, stop, served }
    }

    pub(crate) async fn v1(&self) -> Client {
        Client(tokio_tungstenite::connect_async(format!("ws://{}/", self.address)).await.unwrap().0)
    }

    /// A v2 client, after its welcome.
    pub(crate) async fn v2(&self) -> Client {
        let mut request = format!("ws://{}/", self.address).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL_V2.parse().unwrap());
        let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert!(response.headers().contains_key(reflow_tracing_protocol::LIMITS_HEADER));
        let mut client = Client(socket);
        assert!(client.receive().await["Welcome"]["limits"]["max_batch_events"].is_u64());
        client
    }

    /// The value of a series, by its name with labels as Prometheus writes them.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.metrics.render().unwrap()))
    }

    /// With labels, it is there from its first change on.
    fn find(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Returns once a series has this value.
    pub(crate) async fn becomes(&self, series: &str, expected: f64) {
        let waiting = async {
            while self.find(series) != Some(expected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{series} is {:?}, not {expected}", self.find(series));
    }

    /// Ids of the events stored, by trace.
    pub(crate) async fn traces(&self) -> Vec<(Uuid, Vec<Uuid>)> {
        let mut traces: Vec<(Uuid, Vec<Uuid>)> = Vec::new();
        for chunk in self.stored.lock().await.iter() {
            let events = decode_events(&chunk.header, &chunk.payload).unwrap();
            let ids = events.index().iter().map(|event| event.event_id);
            match traces.iter_mut().find(|(id, _)| *id == chunk.header.trace_uuid()) {
                Some((_, all)) => all.extend(ids),
                None => traces.push((chunk.header.trace_uuid(), ids.collect())),
            }
        }
        traces
    }
}

pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let message = self.message().await.expect("the session ended");
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The next data or close message.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("no answer in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(Error::ConnectionClosed)) | None => return None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame).await;
        self.receive().await
    }

    /// Sends a ping request and expects that its answer is the next.
    pub(crate) async fn is_well(&mut self) {
        assert_eq!(self.ask(&json!("Ping")).await, json!("Pong"));
    }
}

pub(crate) fn event(actor: &str) -> (Uuid, Value) {
    let event = TraceEvent::actor_created(actor.to_owned());
    (event.event_id.0, serde_json::to_value(event).unwrap())
}

/// One of about so many bytes.
pub(crate) fn large_event(bytes: usize) -> Value {
    let (_, mut event) = event("a");
    event["data"]["custom_attributes"]["x"] = json!("n".repeat(bytes));
    event
}

pub(crate) fn record(trace_id: Uuid, event: &Value) -> Value {
    json!({"RecordEvent": {"trace_id": trace_id, "event": event}})
}

pub(crate) fn start(flow_id: &str) -> Value {
    let version = json!({"major": 1, "minor": 0, "patch": 0, "git_hash": null, "timestamp": "2026-01-01T00:00:00Z"});
    json!({"StartTrace": {"flow_id": flow_id, "version": version}})
}

pub(crate) fn recorded() -> Value {
    json!({"EventRecorded": {"success": true, "error": null}})
}
