//! `reflow-collector smoke`: proves an installation by a round trip, as a program and a viewer would make it.
//!
//! Guarantee: it succeeds only when a batch was acked as durable, was acked once more when it was sent again, and every one of
//! its events came back, once, through the address that is read from. It writes with v2 and reads with v1, so that both
//! generations are tried. It waits for services that are still starting, until its deadline, and leaves an ended trace
//! of the flow `reflow_smoke` behind, which retention removes like any other.
//!
//! It is a subcommand because the images hold no shell and no other client. Left out on purpose: TLS, which ends before the
//! services, and load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_protocol::{SUBPROTOCOL_V2, TraceEvent};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

/// What the flow of such a trace is called.
pub const FLOW: &str = "reflow_smoke";

/// Between two attempts: history follows within half a second, and a service that starts takes seconds.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Smoke {
    /// Where the batch is sent: `ws://host:port/` of a collector.
    pub to: String,
    /// Where it is read back: `ws://host:port/` of a query service, or of any collector.
    pub read_from: String,
    /// Events in the batch.
    pub events: usize,
    /// For all of it.
    pub deadline: Duration,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The trace that was left.
    pub trace_id: Uuid,
    /// From sending the batch to its ack.
    pub acked_after: Duration,
    /// From the ack to the answer that held every event.
    pub read_after: Duration,
}

impl Smoke {
    /// Makes the round trip.
    ///
    /// # Errors
    ///
    /// When a step fails, or the deadline passes; the error says which step it was and how it stood.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let (end, trace_id) = (Instant::now() + self.deadline, Uuid::now_v7());
        let events = events(self.events);
        let ids: BTreeSet<String> = events.iter().map(|event| event.event_id.as_uuid().to_string()).collect();
        let batch = json!({"RecordBatch": {
            "batch_id": Uuid::now_v7(), "trace_id": trace_id, "flow_id": FLOW, "client_id": Uuid::new_v4(),
            "sequence": 0, "dropped": 0, "events": events,
        }});

        let mut program = Socket::open(&self.to, Some(SUBPROTOCOL_V2), end).await?;
        let welcome = program.receive(end).await?;
        ensure!(welcome.get("Welcome").is_some(), "{} does not speak {SUBPROTOCOL_V2}: {welcome}", self.to);
        let sent = Instant::now();
        recorded(&program.ask(&batch, end).await?, self.events)?;
        let acked_after = sent.elapsed();
        recorded(&program.ask(&batch, end).await?, self.events).context("the same batch again")?;
        let ended = program.ask(&json!({"EndTrace": {"trace_id": trace_id, "status": "Completed"}}), end).await?;
        ensure!(ended["EventRecorded"]["success"] == true, "the trace could not be ended: {ended}");
        program.close(end).await;

        let acked = Instant::now();
        let mut viewer = Socket::open(&self.read_from, None, end).await?;
        loop {
            let answer = viewer.ask(&json!({"GetTrace": {"trace_id": trace_id}}), end).await?;
            let (missing, why) = match not_yet(&answer) {
                Some(reason) => (ids.len(), reason),
                None => (
                    missing(&answer, &ids).with_context(|| format!("{} answers", self.read_from))?,
                    "is a writer running?",
                ),
            };
            if missing == 0 {
                viewer.close(end).await;
                return Ok(Report { trace_id, acked_after, read_after: acked.elapsed() });
            }
            let (all, url) = (ids.len(), &self.read_from);
            ensure!(
                Instant::now() + PAUSE < end,
                "{missing} of {all} events of trace {trace_id} cannot be read at {url} within the deadline: {why}"
            );
            sleep(PAUSE).await;
        }
    }
}

/// One connection, on which one thing is asked at a time.
struct Socket {
    url: String,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects, again and again until `end`.
    async fn open(url: &str, protocol: Option<&'static str>, end: Instant) -> anyhow::Result<Self> {
        loop {
            let mut request = url.into_client_request().with_context(|| format!("{url} is no address"))?;
            if let Some(protocol) = protocol {
                request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let failed = match timeout(left(end), connect_async(request)).await {
                Ok(Ok((stream, _))) => return Ok(Self { url: url.to_owned(), stream }),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer to the handshake".to_owned(),
            };
            ensure!(Instant::now() + PAUSE < end, "cannot connect to {url} within the deadline: {failed}");
            sleep(PAUSE).await;
        }
    }

    async fn ask(&mut self, request: &Value, end: Instant) -> anyhow::Result<Value> {
        let sending = self.stream.send(Message::text(request.to_string()));
        match timeout(left(end), sending).await {
            Ok(sent) => sent.with_context(|| format!("cannot send to {}", self.url))?,
            Err(_) => bail!("{} does not read within the deadline", self.url),
        }
        self.receive(end).await
    }

    /// The next answer; pings are answered by the library.
    async fn receive(&mut self, end: Instant) -> anyhow::Result<Value> {
        loop {
            let Ok(next) = timeout(left(end), self.stream.next()).await else {
                bail!("{} does not answer within the deadline", self.url)
            };
            match next {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(text.as_str())
                        .with_context(|| format!("the answer of {} is not JSON", self.url));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => bail!("{} answers with {other:?}", self.url),
                Some(Err(error)) => return Err(error).with_context(|| format!("connection to {} broke", self.url)),
                None => bail!("{} has closed the connection", self.url),
            }
        }
    }

    /// Says goodbye. What was to be proven is proven, so that a peer that does not answer changes nothing.
    async fn close(mut self, end: Instant) {
        let goodbye = async {
            let _ = self.stream.close(None).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = timeout(left(end).min(Duration::from_secs(1)), goodbye).await;
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// What a program of two actors does, made by the constructors that published programs use.
fn events(count: usize) -> Vec<TraceEvent> {
    let [from, to] = ["smoke_source", "smoke_sink"].map(str::to_owned);
    let port = |name: &str| name.to_owned();
    let created = [from.clone(), to.clone()].into_iter().map(TraceEvent::actor_created);
    let flowing = std::iter::repeat_with(|| {
        TraceEvent::data_flow(from.clone(), port("out"), to.clone(), port("in"), "Integer".to_owned(), 8)
    });
    created.chain(flowing).take(count).collect()
}

/// All events accepted, and durable.
fn recorded(answer: &Value, events: usize) -> anyhow::Result<()> {
    let body = answer.get("BatchRecorded").with_context(|| format!("the batch was refused: {answer}"))?;
    ensure!(body["accepted"] == events, "not every event was accepted: {answer}");
    ensure!(body["durable"] == true, "the batch was acked, but not as durable: {answer}");
    Ok(())
}

/// What the answer waits for, when it is one of a service whose store, or whose query service, is not there yet.
fn not_yet(answer: &Value) -> Option<&str> {
    (answer["Error"]["code"] == "StorageError").then(|| answer["Error"]["message"].as_str()).flatten()
}

/// How many events the answer lacks. One that is there twice, or that nobody sent, is an error.
fn missing(answer: &Value, ids: &BTreeSet<String>) -> anyhow::Result<usize> {
    let trace = answer.pointer("/TraceData/trace").with_context(|| format!("an error: {answer}"))?;
    let Some(events) = trace["events"].as_array() else { return Ok(ids.len()) };
    let found: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    ensure!(found.len() == events.len(), "{} events, but {} different ones", events.len(), found.len());
    ensure!(found.iter().all(|id| ids.contains(*id)), "events that were not sent");
    Ok(ids.len() - found.len())
}
