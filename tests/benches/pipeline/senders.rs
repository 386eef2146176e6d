//! Programs that send as fast as they are let, over one connection each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_protocol::wire::Response;
use reflow_tracing_protocol::{FlowId, FlowVersion, TraceEvent, TraceId, TracingRequest};
use reflow_tracing_tests::Client;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::load::{Batch, Load, TRACE_BATCHES};

type Socket = WebSocketStream<TcpStream>;

/// Batches that take turns, each time under other ids.
const BATCHES: usize = 50;
/// Events of single frames that take turns.
const EVENTS: usize = 5_000;
/// A v1 program begins a new trace after so many.
const TRACE_EVENTS: usize = 1_000;

/// A v2 program: writes JSON, compresses it, sends it, and sends on while `window` batches wait for their answers.
pub struct V2Sender {
    socket: Socket,
    batches: Vec<Batch>,
    trace_id: Uuid,
    sent: usize,
}

/// A v1 program, as the published client is one: each frame is written by itself, and answers are not waited for.
pub struct V1Sender {
    socket: Socket,
    events: Vec<TraceEvent>,
    sent: usize,
}

impl V2Sender {
    /// Connects and makes its events.
    pub async fn connect(url: &str, seed: u64) -> Result<Self> {
        let batches = Load::new(seed, Utc::now()).batches(BATCHES);
        let socket = Client::connect_v2(url).await?.into_socket();
        Ok(Self { socket, batches, trace_id: Uuid::nil(), sent: 0 })
    }

    /// Sends for `time`; returns how many events were acked, which is as many as were sent.
    pub async fn run(mut self, time: Duration, window: usize) -> Result<u64> {
        let (started, mut waiting, mut acked) = (Instant::now(), 0, 0);
        loop {
            while waiting < window && started.elapsed() < time {
                let frame = self.frame()?;
                self.socket.send(Message::binary(frame)).await?;
                waiting += 1;
            }
            if waiting == 0 {
                return Ok(acked);
            }
            acked += batch_recorded(&mut self.socket).await?;
            waiting -= 1;
        }
    }

    fn frame(&mut self) -> Result<Vec<u8>> {
        if self.sent.is_multiple_of(TRACE_BATCHES) {
            self.trace_id = Uuid::now_v7();
        }
        let batch = &self.batches[self.sent % self.batches.len()];
        self.sent += 1;
        batch.frame(self.trace_id)
    }
}

impl V1Sender {
    /// Connects and makes its events.
    pub async fn connect(url: &str, seed: u64) -> Result<Self> {
        let mut load = Load::new(seed, Utc::now());
        let events = (0..EVENTS).map(|_| load.event()).collect();
        Ok(Self { socket: Client::connect(url).await?.into_socket(), events, sent: 0 })
    }

    /// Sends for `time`; returns how many events were acked. At most `window` frames wait for their answers, which bounds memory alone.
    pub async fn run(self, time: Duration, window: usize) -> Result<u64> {
        let Self { socket, events, mut sent } = self;
        let (mut sink, mut stream) = socket.split();
        let room = tokio::sync::Semaphore::new(window);
        let (told, count) = tokio::sync::oneshot::channel();
        let sending = async {
            let (started, mut frames) = (Instant::now(), 0_u64);
            while started.elapsed() < time {
                if sent.is_multiple_of(TRACE_EVENTS) {
                    room.acquire().await?.forget();
                    sink.send(Message::text(start_trace()?)).await?;
                    frames += 1;
                }
                room.acquire().await?.forget();
                sink.send(Message::text(record(&events[sent % events.len()])?)).await?;
                (sent, frames) = (sent + 1, frames + 1);
            }
            told.send(frames).ok();
            anyhow::Ok(())
        };
        let receiving = async {
            let (mut answers, mut acked, mut expected) = (0, 0, None);
            let mut count = std::pin::pin!(count);
            while expected != Some(answers) {
                let message = tokio::select! {
                    message = stream.next() => message.context("the connection has ended")??,
                    frames = &mut count, if expected.is_none() => {
                        expected = Some(frames?);
                        continue;
                    }
                };
                let Message::Text(text) = message else { continue };
                match text.as_str() {
                    r#"{"EventRecorded":{"success":true,"error":null}}"# => acked += 1,
                    started if started.starts_with(r#"{"TraceStarted""#) => {}
                    other => bail!("not recorded: {other:.300}"),
                }
                answers += 1;
                room.add_permits(1);
            }
            Ok(acked)
        };
        Ok(tokio::try_join!(sending, receiving)?.1)
    }
}

/// `RecordEvent` under a trace id of its own, as real programs send it.
pub fn record(event: &TraceEvent) -> Result<String> {
    let trace_id = TraceId(Uuid::new_v4());
    Ok(serde_json::to_string(&TracingRequest::RecordEvent { trace_id, event: event.clone() })?)
}

/// `StartTrace`, as real programs send it.
pub fn start_trace() -> Result<String> {
    let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: Utc::now() };
    let flow_id = FlowId::new("network_session_1763900000");
    Ok(serde_json::to_string(&TracingRequest::StartTrace { flow_id, version })?)
}

/// The next answer of a v2 session, which must say that all of a batch was recorded; how many events that was.
pub async fn batch_recorded(socket: &mut Socket) -> Result<u64> {
    loop {
        match socket.next().await.context("the connection has ended")?? {
            Message::Text(text) => match serde_json::from_str(&text)? {
                Response::BatchRecorded { accepted, rejected, durable: true, .. } if rejected.is_empty() => {
                    return Ok(accepted as u64);
                }
                other => bail!("not recorded: {other:?}"),
            },
            Message::Close(frame) => bail!("the server said goodbye: {frame:?}"),
            _ => {}
        }
    }
}
