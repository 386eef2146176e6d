//! Any order, any duplication, any grouping: the same store, on every backend.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reflow_tracing_chunk::{Chunk, EndStatus, LeftOut, Origin};
use reflow_tracing_store::{RollupKind, RollupQuery, Store};

use crate::support::*;

/// What tells two chunks apart, small enough that much of it falls together.
#[derive(Clone, Debug)]
struct Spec {
    trace: u128,
    at: i64,
    events: u32,
    flow: Option<usize>,
    start: Option<i64>,
    end: Option<(i64, usize)>,
    close: Option<i64>,
    failure: Option<(i64, usize)>,
    client: Option<(usize, u64)>,
    v1: bool,
}

const NAMES: [&str; 4] = ["a", "b_123456789", "ä", "B"];

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let marks = (
        proptest::option::of(0..4_usize),
        proptest::option::of(-2..2_i64),
        proptest::option::weighted(0.2, (-2..2_i64, 0..4_usize)),
        proptest::option::weighted(0.2, 0..200_i64),
        proptest::option::weighted(0.3, (-2..2_i64, 0..4_usize)),
        proptest::option::weighted(0.3, (0..3_usize, 0..50_u64)),
    );
    let spec = (0..6_u128, 0..200_i64, 0..4_u32, any::<bool>(), marks).prop_map(
        |(trace, at, events, v1, (flow, start, end, close, failure, client))| Spec {
            trace,
            at,
            events,
            flow,
            start,
            end,
            close,
            failure,
            client,
            v1,
        },
    );
    proptest::collection::vec(spec, 1..40)
}

fn build(number: usize, spec: &Spec) -> Chunk {
    let received_us = T0 + spec.at * SECOND;
    let mut one = chunk(spec.trace, 1000 + number as u128, received_us, spec.events);
    if spec.events > 0 {
        let names = [NAMES[spec.events as usize], "everywhere"];
        one = one.actors(names.iter().map(|name| actor(name, u64::from(spec.events))).collect());
        one.header.edges = vec![edge(names[0], names[1], 2)];
        if spec.at % 2 == 0 {
            let left_out = LeftOut { events_milli: 1_667 * u64::from(spec.events), bytes: 7, time_ns: 11 };
            one.header.actors[0].left_out = Some(left_out);
            one.header.edges[0].left_out = Some(left_out);
        }
        one.header.event_types = 1 << spec.events;
        if let Some((at, name)) = spec.failure {
            one = one.failed(T0 + at, NAMES[name]);
        }
    }
    if spec.v1 {
        one.header.origin = Origin::V1Session.into();
        one = one.sent_as(&[90_000 + number as u128]);
    }
    if let Some(flow) = spec.flow {
        let name = NAMES[flow].trim_end_matches("_123456789");
        one = one.flow(NAMES[flow], name).versioned(spec.at as u32 % 3, [None, Some("h")][flow % 2]);
        one.header.metadata_json = Some(format!("{{\"n\":{}}}", spec.at % 5));
        one.header.execution_id = Some(id(500 + spec.at as u128 % 3).as_bytes().to_vec());
    }
    if let Some(start) = spec.start {
        one = one.started(T0 + start);
    }
    if let Some((at, name)) = spec.end {
        let status = [EndStatus::Completed, EndStatus::Cancelled, EndStatus::Failed][name % 3];
        one = one.ended(T0 + at, status, NAMES[name]);
    }
    if let Some(at) = spec.close {
        one = one.closed(T0 + at * SECOND);
    }
    if let Some((client, sequence)) = spec.client {
        one = one.client(NAMES[client], sequence, sequence / 3, 1);
    }
    one
}

/// Everything a reader can see, as text.
pub async fn dump(store: &dyn Store, now_us: i64) -> String {
    let mut out = String::new();
    let page = store.query(&filter(), &first(1000), now_us).await.expect("answers");
    for trace in &page.traces {
        out += &format!("{trace:?}\n");
        let actors = store.trace_actors(TENANT, trace.trace_id).await.expect("answers");
        out += &format!("  {actors:?}\n");
        for chunk in all_chunks(store, trace.trace_id.as_u128(), 40).await {
            out += &format!("  {:?} {} bytes\n", chunk.header, chunk.payload.len());
        }
    }
    for kind in [RollupKind::Flow, RollupKind::Actor, RollupKind::Edge] {
        let (tenant, to_us) = (TENANT.to_owned(), T0 + HOUR);
        let query = RollupQuery { tenant, kind, flow_name: None, from_us: T0 - HOUR, to_us, by_minute: true };
        out += &format!("{:?}\n", store.rollups(&query).await.expect("answers"));
    }
    for name in NAMES {
        let filter = reflow_tracing_store::TraceFilter { actor: Some(name.to_owned()), ..filter() };
        let found = store.query(&filter, &first(1000), now_us).await.expect("answers");
        let ids: Vec<_> = found.traces.iter().map(|trace| trace.trace_id).collect();
        out += &format!("{name}: {ids:?} {:?}\n", store.flow_versions(TENANT, name).await.expect("answers"));
    }
    for number in 0..40 {
        let found = find(store, 90_000 + number, now_us).await.map(|trace| trace.trace_id);
        out += &format!("{found:?} ");
    }
    let seen = rows(store, "seen").await;
    out += &format!("\n{seen} seen, {} chunks", rows(store, "chunks").await);
    out
}

pub async fn any_order_and_duplication_gives_the_same_store<F: Fixture + Fresh>(_: &F) {
    let mut runner = TestRunner::default();
    let strategy = (specs(), any::<u64>());
    for _ in 0..8 {
        let (specs, seed) = strategy.new_tree(&mut runner).expect("a value").current();
        one_round(&F::fresh().await, &specs, seed | 1).await;
    }
}

/// Compares with a memory store that got each chunk once, one a call, in order.
async fn one_round(db: &impl Fixture, specs: &[Spec], seed: u64) {
    let chunks: Vec<Chunk> = specs.iter().enumerate().map(|(number, spec)| build(number, spec)).collect();
    let now_us = T0 + 5 * MINUTE;
    let plain = Memory::new().open().await;
    for chunk in &chunks {
        commit(&*plain, std::slice::from_ref(chunk), T0).await;
    }
    let expected = dump(&*plain, now_us).await;

    let mut shuffled = [chunks.clone(), chunks.clone(), chunks].concat();
    let mut state = seed;
    let mut random = move |below: usize| {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, random(index + 1));
    }
    let store = db.open().await;
    let mut rest = &shuffled[..];
    while !rest.is_empty() {
        let (call, after) = rest.split_at((1 + random(12)).min(rest.len()));
        commit(&*store, call, T0).await;
        rest = after;
    }
    let found = dump(&*store, now_us).await;
    if found != expected {
        let differing = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
        panic!("seed {seed}: {differing:#?}\nin {specs:#?}");
    }
}
