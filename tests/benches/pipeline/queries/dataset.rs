//! A store as it looks after a day: a twentieth of the traces has 1,000 events, the others about 50; most have ended well.

use std::ops::Range;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use reflow_tracing_chunk::{Chunk, EndMark, EndStatus, Header, Origin};
use reflow_tracing_store::StoreWriter;
use uuid::Uuid;

use crate::load::{BATCH_EVENTS, Load, TRACE_BATCHES, again, now_us};

const DAY_US: i64 = 86_400 * 1_000_000;
const COMMIT_CHUNKS: usize = 200;
/// Sets of actors: each is in a twentieth of the flows.
const ACTOR_SETS: usize = 20;
const SMALL_EVENTS: usize = 53;
/// Every so many traces one is large.
const LARGE_EVERY: usize = 20;

/// How large it is.
#[derive(Clone, Copy)]
pub struct Size {
    pub traces: usize,
    pub flows: usize,
}

/// What askers need to know of what was written.
pub struct Dataset {
    pub events: usize,
    /// Traces of 1,000 events.
    pub large: Vec<Uuid>,
    pub executions: Vec<Uuid>,
    pub flows: Vec<String>,
    pub actors: Vec<String>,
    pub errors: Vec<String>,
    /// Start of the earliest and of the latest trace, µs.
    pub times: Range<i64>,
}

/// Chunks of one set of actors, to be written again and again under other ids.
struct Pattern {
    large: Vec<Chunk>,
    small: Vec<Chunk>,
}

impl Dataset {
    /// Writes it through the store, as if over the last day.
    pub async fn write(store: &dyn StoreWriter, size: Size) -> Result<Self> {
        let mut load = Load::new(6, Utc::now());
        let patterns = (0..ACTOR_SETS).map(|set| Pattern::new(&mut load, set)).collect::<Result<Vec<_>>>()?;
        let end = now_us();
        let mut dataset = Self {
            events: 0,
            large: Vec::new(),
            executions: Vec::new(),
            flows: (0..size.flows).map(|flow| format!("flow-{flow}")).collect(),
            actors: (0..ACTOR_SETS).map(|set| actor_name("check_stock", set)).collect(),
            errors: (0..10).map(error_text).collect(),
            times: end - DAY_US..end,
        };
        let mut pending = Vec::new();
        let step = DAY_US / size.traces as i64;
        for index in 0..size.traces {
            let at_us = dataset.times.start + step * index as i64;
            let flow = load.below(size.flows);
            let pattern = &patterns[flow % ACTOR_SETS];
            let large = index % LARGE_EVERY == 0;
            let small = load.below(pattern.small.len());
            let chunks = if large { &pattern.large[..] } else { &pattern.small[small..=small] };
            let (trace_id, execution_id) = (load.uuid(), load.uuid());
            if large {
                dataset.large.push(trace_id);
            }
            dataset.executions.push(execution_id);
            let outcome = load.below(100);
            for (place, chunk) in chunks.iter().enumerate() {
                let mut chunk = again(chunk, trace_id);
                dataset.events += chunk.header.event_count as usize;
                at(&mut chunk.header, at_us + place as i64 * 1_000);
                chunk.header.flow_id = Some(dataset.flows[flow].clone());
                chunk.header.flow_name = Some(dataset.flows[flow].clone());
                chunk.header.execution_id = Some(execution_id.as_bytes().to_vec());
                chunk.header.started_us = (place == 0).then_some(at_us);
                if place + 1 == chunks.len() {
                    finish(&mut chunk.header, outcome, at_us);
                }
                pending.push(chunk);
            }
            if pending.len() >= COMMIT_CHUNKS || index + 1 == size.traces {
                store.commit(&std::mem::take(&mut pending), at_us).await.context("the dataset was not taken")?;
            }
        }
        Ok(dataset)
    }
}

impl Pattern {
    fn new(load: &mut Load, set: usize) -> Result<Self> {
        let mut chunk = |sequence, events| {
            let mut batch = load.batch(Uuid::nil(), "pattern", sequence as u64, events);
            for event in &mut batch.events {
                event.actor_id = actor_name(&event.actor_id, set);
            }
            batch.chunk(Origin::V2Batch, 0)
        };
        Ok(Self {
            large: (0..TRACE_BATCHES).map(|place| chunk(place * BATCH_EVENTS, BATCH_EVENTS)).collect::<Result<_>>()?,
            small: (0..10).map(|_| chunk(0, SMALL_EVENTS)).collect::<Result<_>>()?,
        })
    }
}

fn actor_name(actor: &str, set: usize) -> String {
    format!("{actor}_{set}")
}

fn error_text(kind: usize) -> String {
    format!("shard {kind} is full")
}

/// Moves a header in time. The payload stays behind, which no question looks at.
fn at(header: &mut Header, at_us: i64) {
    header.received_us = at_us;
    let (first, last) = (header.first_event_us.unwrap_or(0), header.last_event_us.unwrap_or(0));
    (header.first_event_us, header.last_event_us) = (Some(at_us), Some(at_us + (last - first)));
}

/// How a trace ended: of a hundred, 5 run on, 75 were left by their program, 12 completed, 3 were cancelled and 5 failed.
fn finish(header: &mut Header, outcome: usize, at_us: i64) {
    let closed_us = at_us + 1_000_000;
    let mut end = |status: EndStatus, error: String| {
        header.ended = Some(EndMark { at_us: closed_us, status: status.into(), error });
    };
    match outcome {
        0..5 => {}
        5..80 => header.closed_us = Some(closed_us),
        80..92 => end(EndStatus::Completed, String::new()),
        92..95 => end(EndStatus::Cancelled, String::new()),
        _ => end(EndStatus::Failed, error_text(outcome % 10)),
    }
}

/// A time as queries take it.
pub fn time(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}
