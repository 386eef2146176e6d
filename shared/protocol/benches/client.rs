//! What the client costs its program, on Linux: events a second of processor time, and bytes an event on the wire, by codec.
//!
//! `cargo bench -p reflow_tracing_protocol --bench client`, with `-- <events>` for another number. The server is a sink that counts
//! the events of every batch and acks it, on a thread of its own, so what is measured is the client alone: its two threads,
//! the one that records and the one in the background, by clock and by the kernel's account. The first figure of a codec is what one core could do if it did
//! nothing else but both; record cost alone is a benchmark of its own.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_protocol::client::{TracingClient, TracingConfig, WhenFull};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{BatchFrame, Limits, Response};
use reflow_tracing_protocol::{FlowId, FlowVersion, SUBPROTOCOL_V2, TraceEvent};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server as handshake;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const EVENTS: usize = 300_000;
/// Clock ticks a second of `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let events = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(EVENTS);
    let url = sink()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{events} events a codec; a core does nothing but record and send");
    println!(
        "{:<8} {:>14} {:>14} {:>14} {:>12} {:>12}",
        "codec", "events/s/core", "recording", "background", "bytes/event", "events/batch"
    );
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Brotli] {
        println!("{}", runtime.block_on(measure(&url, codec, events))?);
    }
    Ok(())
}

/// Sends so many events and tells what that cost.
async fn measure(url: &str, codec: Codec, count: usize) -> Result<String> {
    let config = TracingConfig { server_url: url.to_owned(), ..TracingConfig::default() };
    let client = TracingClient::builder(config).codec(codec).when_full(WhenFull::Wait).build()?;
    client.connect_within(Duration::from_secs(5)).await?;
    let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: chrono::Utc::now() };
    let trace_id = client.start_trace(FlowId::new("bench"), version).await?;
    // Made beforehand, a slice at a time: making an event is the program's work.
    let (mut recording, before) = (Duration::ZERO, background_seconds()?);
    for slice in (0..count).step_by(10_000) {
        let events: Vec<TraceEvent> = (slice..(slice + 10_000).min(count)).map(event).collect();
        let begin = Instant::now();
        for event in events {
            client.record_event(trace_id.clone(), event).await?;
        }
        recording += begin.elapsed();
        // Recording is timed by the clock, so it is given the core for itself; what it gathers is sent in between.
        client.flush_within(Duration::from_secs(60)).await?;
    }
    let background = background_seconds()? - before;
    let metrics = client.metrics();
    ensure!(metrics.events_acked == count as u64, "{metrics:?}");
    client.shutdown().await?;
    let (count, recording) = (count as f64, recording.as_secs_f64());
    Ok(format!(
        "{:<8} {:>14.0} {:>11.2} us {:>11.2} us {:>12.1} {:>12.0}",
        codec.name(),
        count / (recording + background),
        recording / count * 1e6,
        background / count * 1e6,
        metrics.bytes_sent as f64 / count,
        count / metrics.batches_acked as f64,
    ))
}

/// Events as a program of some actors emits them: no two the same, much of them alike.
fn event(number: usize) -> TraceEvent {
    let (from, to) = (format!("actor-{}", number % 17), format!("actor-{}", number % 13));
    match number % 4 {
        0 => TraceEvent::actor_completed(from),
        1 => TraceEvent::message_sent(from, "out".into(), "Integer".into(), number % 512),
        _ => TraceEvent::data_flow(from, "out".into(), to, "in".into(), "Integer".into(), number % 512),
    }
}

/// Processor time of the client's background threads so far.
fn background_seconds() -> Result<f64> {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        if name.ends_with("(reflow-tracing") {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let field = |place: usize| fields.get(place).and_then(|text| text.parse::<u64>().ok());
            ticks += field(11).zip(field(12)).map(|(user, system)| user + system).context("no times in /proc")?;
        }
    }
    Ok(ticks as f64 / TICKS)
}

/// A server on threads of its own that acks every batch; gives its url. It lives as long as the process.
fn sink() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("ws://{}", listener.local_addr()?);
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(accept(listener))
    })?;
    Ok(url)
}

async fn accept(listener: TcpListener) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback is so")]
async fn serve(stream: tokio::net::TcpStream) -> Result<()> {
    let agree = |_: &handshake::Request, mut response: handshake::Response| {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL_V2));
        Ok::<_, handshake::ErrorResponse>(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, agree).await?;
    let limits = Limits {
        max_frame_bytes: 16 << 20,
        max_decompressed_bytes: 64 << 20,
        max_batch_events: 10_000,
        max_chunk_bytes: 4 << 20,
        max_chunks_in_flight: 64,
        max_subscriptions: 1,
    };
    socket.send(Message::text(serde_json::to_string(&Response::Welcome { limits })?)).await?;
    while let Some(message) = socket.next().await {
        let answer = match message? {
            Message::Binary(frame) => {
                let batch_id = BatchFrame::decode(&frame)?.header.batch_id;
                let accepted = accepted(&frame)?;
                Response::BatchRecorded { batch_id, accepted, rejected: Vec::new(), durable: false }
            }
            Message::Text(text) => {
                let request: serde_json::Value = serde_json::from_str(&text)?;
                let id = |name: &str, key: &str| request[name][key].as_str().and_then(|id| id.parse().ok());
                let echo = |name: &str| serde_json::value::to_raw_value(&request[name]["request_id"]).ok();
                match id("StartTrace", "trace_id") {
                    Some(trace_id) => Response::TraceStarted { trace_id, request_id: echo("StartTrace") },
                    None => Response::EventRecorded {
                        success: true,
                        error: None,
                        code: None,
                        retryable: None,
                        request_id: echo("EndTrace"),
                    },
                }
            }
            _ => continue,
        };
        socket.send(Message::text(serde_json::to_string(&answer)?)).await?;
    }
    Ok(())
}

/// Events in a batch.
fn accepted(frame: &[u8]) -> Result<usize> {
    let BatchFrame { header, payload } = BatchFrame::decode(frame)?;
    let raw = header.codec.decompress(payload, header.raw_size as usize, header.raw_size as usize)?;
    Ok(serde_json::from_slice::<Vec<&serde_json::value::RawValue>>(&raw)?.len())
}
