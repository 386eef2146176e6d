//! What recording costs on the caller's thread, with the background at work beside it.
//!
//! `record_event` takes an event that is ready, so making it is not part of its time; the `trace_*` helpers make theirs. A stand-in server on a
//! thread of its own acks every batch, so that the buffer has room, as it has in a program that does not record all the time: between
//! bursts it is waited until everything is acked. Means come from criterion; then each call of four threads at once is timed by itself,
//! and quantiles are printed (a call that the scheduler interrupts counts as long as it was away).

use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use futures_util::{FutureExt, SinkExt, StreamExt};
use reflow_tracing_protocol::client::{TracingClient, TracingConfig, TracingIntegration};
use reflow_tracing_protocol::wire::{BatchFrame, Limits, Response};
use reflow_tracing_protocol::{SUBPROTOCOL_V2, TraceEvent};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response as Handshake};

/// Events recorded before everything is waited for: far less than the buffer holds.
const BURST: u64 = 20_000;
const THREADS: usize = 4;
const CALLS: usize = 20_000;

/// Acks every batch; gives its address.
fn server() -> String {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody listens");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    format!("ws://{}", address.recv().expect("the server starts"))
}

async fn serve(stream: tokio::net::TcpStream) {
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    fn v2(_: &Request, mut response: Handshake) -> Result<Handshake, ErrorResponse> {
        let name = SUBPROTOCOL_V2.parse().expect("a header's value");
        response.headers_mut().insert("Sec-WebSocket-Protocol", name);
        Ok(response)
    }
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, v2).await else { return };
    let limits = Limits {
        max_frame_bytes: 16 << 20,
        max_decompressed_bytes: 64 << 20,
        max_batch_events: 10_000,
        max_chunk_bytes: 900 << 10,
        max_chunks_in_flight: 32,
        max_subscriptions: 16,
    };
    let mut answer = Some(Response::Welcome { limits });
    loop {
        if let Some(answer) = answer.take() {
            let text = serde_json::to_string(&answer).expect("an answer is JSON");
            if socket.send(Message::text(text)).await.is_err() {
                return;
            }
        }
        answer = match socket.next().await {
            Some(Ok(Message::Binary(frame))) => {
                let batch_id = BatchFrame::decode(&frame).expect("a batch").header.batch_id;
                Some(Response::BatchRecorded { batch_id, accepted: 0, rejected: Vec::new(), durable: true })
            }
            Some(Ok(_)) => None,
            _ => return,
        };
    }
}

fn integration(url: &str) -> TracingIntegration {
    let config = TracingConfig { server_url: url.to_owned(), ..TracingConfig::default() };
    let tracing = TracingIntegration::new(TracingClient::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(tracing.client().connect_within(Duration::from_secs(10))).expect("a connection");
    tracing
}

/// Waits until the buffer is empty again.
fn settle(tracing: &TracingIntegration) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(tracing.client().flush_within(Duration::from_secs(60))).expect("everything is acked");
    assert_eq!(tracing.client().metrics().events_dropped(), 0, "the buffer had no room");
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("recording does not wait")
}

fn ready_event() -> TraceEvent {
    TraceEvent::message_sent("generator".into(), "out".into(), "Discriminant(5)".into(), 40)
}

fn sent(tracing: &TracingIntegration) {
    now(tracing.trace_message_sent("generator", "out", "Discriminant(5)", 40)).expect("recorded");
}

fn flow(tracing: &TracingIntegration) {
    now(tracing.trace_data_flow("generator", "out", "sink", "in", "Discriminant(5)", 40)).expect("recorded");
}

fn created(tracing: &TracingIntegration) {
    now(tracing.trace_actor_created("generator")).expect("recorded");
}

/// Times calls in bursts that the buffer has room for.
fn in_bursts(tracing: &TracingIntegration, calls: u64, mut burst: impl FnMut(u64) -> Duration) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = calls;
    while left > 0 {
        let now = left.min(BURST);
        spent += burst(now);
        settle(tracing);
        left -= now;
    }
    spent
}

fn means(criterion: &mut Criterion) {
    let url = server();
    let tracing = integration(&url);
    let client = tracing.client();
    let trace_id = client.current_trace_id();
    let mut group = criterion.benchmark_group("record");
    group.bench_function("record_event", |bencher| {
        bencher.iter_custom(|calls| {
            in_bursts(&tracing, calls, |burst| {
                let events: Vec<_> = (0..burst).map(|_| ready_event()).collect();
                let began = Instant::now();
                for event in events {
                    now(client.record_event(trace_id.clone(), event)).expect("recorded");
                }
                began.elapsed()
            })
        });
    });
    for (name, call) in [
        ("trace_actor_created", created as fn(&TracingIntegration)),
        ("trace_message_sent", sent),
        ("trace_data_flow", flow),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                in_bursts(&tracing, calls, |burst| {
                    let began = Instant::now();
                    (0..burst).for_each(|_| call(&tracing));
                    began.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// Times every call of four threads that record at the same time.
fn quantiles() {
    let url = server();
    println!("\n{THREADS} threads at once, {CALLS} calls each, ns a call (the clock's own cost included)");
    println!("{:<22}{:>8}{:>8}{:>8}{:>8}", "", "p50", "p90", "p99", "p99.9");
    let clock = |_: &TracingIntegration| {};
    let tracing = integration(&url);
    let trace_id = tracing.client().current_trace_id();
    let client = tracing.client();
    print("(the clock alone)", timed(&tracing, || (), |()| clock(&tracing)));
    print(
        "record_event",
        timed(&tracing, ready_event, |event| {
            now(client.record_event(trace_id.clone(), event)).expect("recorded");
        }),
    );
    print("trace_actor_created", timed(&tracing, || (), |()| created(&tracing)));
    print("trace_message_sent", timed(&tracing, || (), |()| sent(&tracing)));
    print("trace_data_flow", timed(&tracing, || (), |()| flow(&tracing)));
    print(
        "sent, then its flow",
        timed(
            &tracing,
            || (),
            |()| {
                sent(&tracing);
                flow(&tracing);
            },
        ),
    );
}

fn timed<T: Send>(tracing: &TracingIntegration, make: impl Fn() -> T + Sync, call: impl Fn(T) + Sync) -> Vec<u64> {
    let mut all = Vec::new();
    // Fewer calls at a time than the buffer holds, several times, so that each thread starts warm.
    for _ in 0..4 {
        let together = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let inputs: Vec<_> = (0..CALLS / 4).map(|_| make()).collect();
                        let mut times = Vec::with_capacity(inputs.len());
                        together.wait();
                        for input in inputs {
                            let began = Instant::now();
                            call(input);
                            times.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
                        }
                        times
                    })
                })
                .collect();
            for thread in threads {
                all.extend(thread.join().expect("no thread panics"));
            }
        });
        settle(tracing);
    }
    all.sort_unstable();
    all
}

fn print(name: &str, times: Vec<u64>) {
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize];
    println!("{name:<22}{:>8}{:>8}{:>8}{:>8}", at(0.5), at(0.9), at(0.99), at(0.999));
}

criterion_group!(benches, means);

fn main() {
    benches();
    // `cargo test --benches` only wants to know that it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        quantiles();
    }
    Criterion::default().configure_from_args().final_summary();
}
