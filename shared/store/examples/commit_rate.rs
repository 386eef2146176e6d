//! How fast a backend commits, and what an event takes: `commit_rate sqlite <file>` or `commit_rate postgres <url>`.
//!
//! Chunks of 200 events at 81 bytes an event, 50 a commit, five chunks a trace, a thousand flows: the shape of the design's figures.
//! Prints events/s by the clock, and rows and bytes an event in all tables and indexes.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use reflow_tracing_chunk::{ActorStats, Chunk, ClientMark, EdgeStats, Header, Origin, TimeStats};
use reflow_tracing_store::{Page, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store, TraceFilter};
use uuid::Uuid;

const EVENTS: usize = 200;
const CHUNKS_A_COMMIT: usize = 50;
const FLOWS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, place, rest @ ..] = &arguments[..] else {
        bail!("commit_rate sqlite|postgres <where> [chunks] [actors] [chunks a trace] [bytes an event]")
    };
    let number = |index: usize, default: usize| rest.get(index).map_or(Ok(default), |text| text.parse());
    let (chunks, shape) =
        (number(0, 20_000)?, Shape { actors: number(1, 3)?, chunks_a_trace: number(2, 5)?, bytes: number(3, 81)? });
    let store: Box<dyn Store> = match backend.as_str() {
        "sqlite" => Box::new(SqliteStore::open_writer(&SqliteOptions::new(place)).await?),
        "postgres" => Box::new(PostgresStore::connect_writer(&PostgresOptions::new(place)).await?),
        other => bail!("unknown backend {other}"),
    };
    let now_us = chrono::Utc::now().timestamp_micros();
    let batches: Vec<Vec<Chunk>> = (0..chunks / CHUNKS_A_COMMIT)
        .map(|batch| (0..CHUNKS_A_COMMIT).map(|n| chunk(batch * CHUNKS_A_COMMIT + n, shape, now_us)).collect())
        .collect();
    let events = (batches.len() * CHUNKS_A_COMMIT * EVENTS) as f64;

    let started = Instant::now();
    let cpu = cpu_seconds();
    let mut longest = 0.0_f64;
    for batch in &batches {
        let commit = Instant::now();
        let outcome = store.commit(batch, now_us).await?;
        longest = longest.max(commit.elapsed().as_secs_f64());
        anyhow::ensure!(outcome.stored == batch.len(), "{outcome:?}");
    }
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let stats = store.stats().await?;
    let rows: u64 = stats.rows.iter().map(|(_, rows)| rows).sum();
    println!(
        "{:.0} events/s, {:.0} a CPU-second of this process, longest commit {:.0} ms",
        events / wall,
        events / cpu,
        longest * 1e3
    );
    println!(
        "{:.4} rows and {:.1} bytes an event; {:?}",
        rows as f64 / events,
        stats.bytes as f64 / events,
        stats.rows
    );
    query_times(&*store, now_us).await
}

/// A page of twenty under some filters.
async fn query_times(store: &dyn Store, now_us: i64) -> Result<()> {
    use reflow_tracing_protocol::ExecutionStatus;
    let all = TraceFilter { tenant: "default".into(), trace_idle_us: 900_000_000, ..TraceFilter::default() };
    let failed = ExecutionStatus::Failed { error: String::new() };
    let filters = [
        ("all", all.clone()),
        ("flow", TraceFilter { flow: Some("flow-7".into()), ..all.clone() }),
        ("running", TraceFilter { status: Some(ExecutionStatus::Running), ..all.clone() }),
        ("completed", TraceFilter { status: Some(ExecutionStatus::Completed), ..all.clone() }),
        ("failed", TraceFilter { status: Some(failed.clone()), ..all.clone() }),
        ("actor of all", TraceFilter { actor: Some("actor-0".into()), ..all.clone() }),
        ("actor of all, failed", TraceFilter { actor: Some("actor-0".into()), status: Some(failed), ..all.clone() }),
        ("actor of few", TraceFilter { actor: Some("flow-7-source".into()), ..all.clone() }),
        ("time", TraceFilter { start_us: Some((now_us - 500_000_000, now_us)), ..all.clone() }),
    ];
    for (name, filter) in filters {
        let mut times = Vec::new();
        let mut total = 0;
        for _ in 0..20 {
            let started = Instant::now();
            total = store.query(&filter, &Page { limit: 20, ..Page::default() }, now_us).await?.total;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times.last().context("measured")?);
        println!("{name}: {total} traces, median {median:.1?}, worst {worst:.1?}");
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Shape {
    actors: usize,
    chunks_a_trace: usize,
    /// An event.
    bytes: usize,
}

fn chunk(number: usize, shape: Shape, now_us: i64) -> Chunk {
    let Shape { actors, chunks_a_trace, bytes } = shape;
    let trace = number / chunks_a_trace;
    let flow = format!("flow-{}", trace % FLOWS);
    let mut time = TimeStats::default();
    (0..20).for_each(|n| time.add(1_000 << (n % 12)));
    let stats = |n: usize| ActorStats {
        actor: if n == 0 { format!("{flow}-source") } else { format!("actor-{}", n - 1) },
        events: (EVENTS / actors) as u64,
        failures: 0,
        bytes: 24 * 40,
        time: Some(time.clone()),
        event_types: 0b11_0000,
        left_out: None,
    };
    let names: Vec<ActorStats> = (0..=actors).map(stats).collect();
    let edges = names.windows(2).map(|pair| EdgeStats {
        from_actor: pair[0].actor.clone(),
        from_port: "out".into(),
        to_actor: pair[1].actor.clone(),
        to_port: "in".into(),
        count: 30,
        bytes: 24 * 30,
        time: None,
        left_out: None,
    });
    let header = Header {
        version: 1,
        chunk_id: Uuid::now_v7().as_bytes().to_vec(),
        trace_id: Uuid::from_u128(0x1234_5678_9abc_def0_u128.wrapping_mul(trace as u128 + 1) << 3).as_bytes().to_vec(),
        tenant: "default".into(),
        flow_id: Some(format!("{flow}_{}", 1_700_000_000 + trace)),
        flow_name: Some(flow.clone()),
        received_us: now_us + number as i64,
        first_event_us: Some(now_us - 1_000_000_000 + number as i64 * 1000),
        last_event_us: Some(now_us - 999_999_999 + number as i64 * 1000),
        event_count: EVENTS as u32,
        event_types: 0b11_0111,
        failures: u32::from(trace.is_multiple_of(10)),
        actors: names.clone(),
        edges: edges.collect(),
        client: Some(ClientMark { client_id: "client-1".into(), sequence: 0, dropped: 0, rejected: 0 }),
        closed_us: (!trace.is_multiple_of(3)).then_some(now_us + i64::from(u32::MAX)),
        codec: 1,
        raw_size: 621 * EVENTS as u32,
        origin: Origin::V2Batch.into(),
        ..Header::default()
    };
    // Compressed bytes look random.
    let mut state = number as u64 | 1;
    let payload: Vec<u8> = (0..EVENTS * bytes / 8)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()
        })
        .collect();
    Chunk { header, payload: payload.into() }
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
