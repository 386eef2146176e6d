//! A server that answers as the published one does: it ignores the sub-protocol, reads and writes text alone, answers every frame in
//! its order, knows no batches and no ends, and stores nothing but what it is asked to remember here.
//!
//! The published server is no crate, so it cannot be run here. What it answers was read off its source, version 0.2.1.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_protocol::{
    ErrorCode, TraceEvent, TraceId, TraceMessage, TraceResponse, TracingRequest, TracingResponse,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What the stand-in has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub handshakes: usize,
    /// Offers of a sub-protocol among them.
    pub offers: usize,
    pub authorization: Option<String>,
    pub events: Vec<(TraceId, TraceEvent)>,
    pub starts: Vec<String>,
    pub binary_frames: usize,
    pub unreadable: Vec<String>,
}

/// See the module; stops when dropped.
pub struct StandIn {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    /// Answers everything, or (for tests of time limits) nothing.
    pub async fn start(silent: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Connections end with the stand-in.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared), silent));
            }
        });
        Ok(Self { url, seen, task: task.abort_handle() })
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().expect("nobody panics in here"))
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback is so")]
async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>, silent: bool) {
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let mut seen = seen.lock().expect("nobody panics in here");
        seen.handshakes += 1;
        seen.offers += usize::from(request.headers().contains_key("sec-websocket-protocol"));
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        seen.authorization = token.map(str::to_owned);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, note).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let answer = match message {
            Message::Text(text) => answer(&text, &seen),
            Message::Binary(_) => {
                seen.lock().expect("nobody panics in here").binary_frames += 1;
                invalid()
            }
            _ => continue,
        };
        if !silent && socket.send(Message::text(answer)).await.is_err() {
            return;
        }
    }
}

fn answer(text: &str, seen: &Mutex<Seen>) -> String {
    let mut seen = seen.lock().expect("nobody panics in here");
    let recorded = || TracingResponse::EventRecorded { success: true, error: None };
    let answer = match serde_json::from_str::<TracingRequest>(text) {
        Ok(TracingRequest::StartTrace { flow_id, .. }) => {
            seen.starts.push(flow_id.0);
            TracingResponse::TraceStarted { trace_id: TraceId::new() }
        }
        Ok(TracingRequest::RecordEvent { trace_id, event }) => {
            seen.events.push((trace_id, event));
            recorded()
        }
        Ok(TracingRequest::GetTrace { .. }) => TracingResponse::TraceData { trace: None },
        Ok(TracingRequest::QueryTraces { .. }) => TracingResponse::QueryResults { traces: Vec::new(), total_count: 0 },
        Ok(TracingRequest::GetFlowVersions { .. }) => TracingResponse::Error {
            message: "GetFlowVersions not implemented yet".to_owned(),
            code: ErrorCode::NotFound,
        },
        Ok(TracingRequest::Ping) => TracingResponse::Pong,
        Ok(TracingRequest::Subscribe { .. } | TracingRequest::Unsubscribe) => recorded(),
        Err(_) => match serde_json::from_str::<TraceMessage>(text) {
            Ok(TraceMessage::GetMetrics) => {
                let data = serde_json::json!({ "messages_received": seen.events.len() });
                return serde_json::to_string(&TraceResponse::Metrics { data }).expect("it is JSON");
            }
            _ => {
                seen.unreadable.push(text.to_owned());
                return invalid();
            }
        },
    };
    serde_json::to_string(&answer).expect("it is JSON")
}

fn invalid() -> String {
    let answer = TraceResponse::Error { message: "Invalid message format".to_owned() };
    serde_json::to_string(&answer).expect("it is JSON")
}
