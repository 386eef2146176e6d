//! What recording costs on the caller's thread, with the background at work beside it.
//!
//! `record_event` takes an event that is ready, so making it is not part of its time; the `trace_*` calls make theirs. A stand-in server on a
//! thread of its own acks every batch, so that the buffer has room, as it has in a program that does not record all the time: between
//! bursts it is waited until everything is acked.
//!
//! Means of the most frequent calls come from criterion. Then every call is timed by itself, on one thread and on four at once, and the
//! quantiles are printed beside the mean processor time of a call. On a machine with fewer cores than threads (the background and the
//! server are two more) the wall clock also counts how long a thread was off its core, in the one call that this happened to; that is a call in
//! some ten thousand, so it shows in p99.9 and hardly in p99. The processor time is free of it.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use futures_util::{FutureExt, SinkExt, StreamExt};
use reflow_tracing_protocol::client::{TracingClient, TracingConfig, TracingIntegration};
use reflow_tracing_protocol::wire::{BatchFrame, Limits, Response};
use reflow_tracing_protocol::{SUBPROTOCOL_V2, TraceEvent};
use serde_json::json;
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

/// One call of each kind.
type Call = fn(&TracingIntegration);

const CALLS_BY_NAME: &[(&str, Call)] = &[
    ("(the clock alone)", |_| {}),
    ("trace_actor_created", created),
    ("trace_actor_completed", |tracing| now(tracing.trace_actor_completed("generator")).expect("recorded")),
    ("trace_actor_failed", |tracing| now(tracing.trace_actor_failed("generator", "no more paper")).expect("recorded")),
    ("trace_message_sent", sent),
    ("trace_data_flow", flow),
    ("sent, then its flow", |tracing| {
        sent(tracing);
        flow(tracing);
    }),
    ("trace_event", |tracing| {
        now(tracing.trace_event(ready_event())).expect("recorded");
    }),
    ("trace_message_sent_with", |tracing| {
        now(tracing.trace_message_sent_with("generator", "out", "Integer", json!(7))).expect("recorded");
    }),
    ("trace_message_received", |tracing| {
        now(tracing.trace_message_received("sink", "in", "Integer", json!(7))).expect("recorded");
    }),
    ("trace_data_flow_with", |tracing| {
        now(tracing.trace_data_flow_with("generator", "out", "sink", "in", "Integer", json!(7))).expect("recorded");
    }),
    ("trace_state_changed", |tracing| {
        now(tracing.trace_state_changed("sink", Some(json!(6).into()), json!(7))).expect("recorded");
    }),
    ("trace_port_connected", |tracing| {
        now(tracing.trace_port_connected("sink", "in")).expect("recorded");
    }),
    ("trace_port_disconnected", |tracing| {
        now(tracing.trace_port_disconnected("sink", "in")).expect("recorded");
    }),
    ("trace_network_event", |tracing| {
        now(tracing.trace_network_event("network", [("nodes".to_owned(), json!(3))])).expect("recorded");
    }),
    ("a run, both its ends", |tracing| {
        let run = now(tracing.trace_actor_started("sink")).expect("recorded");
        now(run.completed()).expect("recorded");
    }),
];

/// Times every call by itself.
fn quantiles() {
    let url = server();
    println!("\nns a call, the clock's own cost included; cpu is the mean of the calling threads' processor time");
    println!("{:<24}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}", "", "threads", "p50", "p90", "p99", "p99.9", "max", "cpu");
    let tracing = integration(&url);
    let client = tracing.client();
    let trace_id = client.current_trace_id();
    for threads in [1, THREADS] {
        let record = |event| now(client.record_event(trace_id.clone(), event)).expect("recorded");
        timed(&tracing, threads, ready_event, record).print("record_event", threads);
        let record = |event| client.record(&trace_id, event).expect("recorded");
        timed(&tracing, threads, ready_event, record).print("record", threads);
        for (name, call) in CALLS_BY_NAME {
            timed(&tracing, threads, || (), |()| call(&tracing)).print(name, threads);
        }
    }
}

/// What was measured of one kind of call.
struct Times {
    /// Of each call, sorted.
    ns: Vec<u64>,
    /// Of all of them together, where the system tells it.
    cpu_ns: Option<u64>,
}

fn timed<T: Send>(
    tracing: &TracingIntegration,
    threads: usize,
    make: impl Fn() -> T + Sync,
    call: impl Fn(T) + Sync,
) -> Times {
    let mut all = Times { ns: Vec::new(), cpu_ns: Some(0) };
    // Fewer calls at a time than the buffer holds, several times, so that each thread starts warm.
    for _ in 0..4 {
        let together = Barrier::new(threads);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| burst(&together, &make, &call))).collect();
            for thread in threads {
                let times = thread.join().expect("no thread panics");
                all.ns.extend(times.ns);
                all.cpu_ns = all.cpu_ns.zip(times.cpu_ns).map(|(all, more)| all + more);
            }
        });
        settle(tracing);
    }
    all.ns.sort_unstable();
    all
}

fn burst<T>(together: &Barrier, make: impl Fn() -> T, call: impl Fn(T)) -> Times {
    let inputs: Vec<_> = (0..CALLS / 4).map(|_| make()).collect();
    let mut ns = Vec::with_capacity(inputs.len());
    together.wait();
    let cpu = cpu_ns();
    for input in inputs {
        let began = Instant::now();
        call(input);
        ns.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Times { ns, cpu_ns: cpu_ns().zip(cpu).map(|(after, before)| after - before) }
}

/// Processor time of this thread so far: the first number of its `schedstat` (Linux).
fn cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

impl Times {
    fn print(&self, name: &str, threads: usize) {
        let at = |quantile: f64| self.ns[((self.ns.len() - 1) as f64 * quantile) as usize];
        let cpu = self.cpu_ns.map_or_else(|| "-".to_owned(), |cpu| (cpu / self.ns.len() as u64).to_string());
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(at);
        println!("{name:<24}{threads:>8}{p50:>8}{p90:>8}{p99:>8}{p999:>8}{max:>8}{cpu:>8}");
    }
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
