//! The events that everything here is measured with: the same ones in every run.
//!
//! A program of ten actors that passes messages along a chain: each step is sent, flows, is received, and completes with measured
//! figures; now and then an actor fails. 621 bytes of JSON an event on average, ids as random as real ones, so that what
//! compression leaves is what it leaves of real events.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reflow_tracing_chunk::{Chunk, ChunkBuilder, ClientMark, FlowNaming, Origin};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{BatchFrame, BatchHeader};
use reflow_tracing_protocol::{
    CausalityInfo, EventId, MessageSnapshot, PerformanceMetrics, TraceEvent, TraceEventData, TraceEventType,
};
use uuid::Uuid;

/// Events a batch: the design's.
pub const BATCH_EVENTS: usize = 200;
/// Batches a trace: traces of 1,000 events.
pub const TRACE_BATCHES: usize = 5;
const ACTORS: [&str; 10] = [
    "http_ingress",
    "authenticate",
    "parse_order",
    "check_stock",
    "price_items",
    "reserve_stock",
    "charge_card",
    "write_ledger",
    "notify_buyer",
    "archive_order",
];

/// Makes events, ids and batches from one seed.
pub struct Load {
    rng: StdRng,
    step: usize,
    clock: DateTime<Utc>,
    client_id: String,
}

/// Events of one trace, not yet written as JSON.
pub struct Batch {
    pub trace_id: Uuid,
    pub flow_id: String,
    pub client_id: String,
    pub sequence: u64,
    pub events: Vec<TraceEvent>,
}

impl Load {
    /// A load of its own for each seed. Events happen from `start` on.
    pub fn new(seed: u64, start: DateTime<Utc>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let client_id = uuid(&mut rng).to_string();
        Self { rng, step: 0, clock: start, client_id }
    }

    pub fn uuid(&mut self) -> Uuid {
        uuid(&mut self.rng)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// The next event of the program.
    pub fn event(&mut self) -> TraceEvent {
        self.clock += Duration::nanoseconds(self.rng.random_range(2_000..40_000));
        let message = self.step / 4;
        let (actor, next) = (ACTORS[message % ACTORS.len()], ACTORS[(message + 1) % ACTORS.len()]);
        let mut event = match self.step % 4 {
            0 => self.plain(TraceEventType::MessageSent, actor, Some("orders"), true),
            1 => {
                let to = TraceEventType::DataFlow { to_actor: next.to_owned(), to_port: "orders".to_owned() };
                self.plain(to, actor, Some("orders"), true)
            }
            2 => self.plain(TraceEventType::MessageReceived, next, Some("orders"), true),
            _ => self.plain(TraceEventType::ActorCompleted, next, None, false),
        };
        if self.step % 4 == 3 && self.rng.random_range(0..250) == 0 {
            event.event_type = TraceEventType::ActorFailed;
            event.data.error = Some(format!("upstream answered 503 after {} ms", self.rng.random_range(100..5_000)));
        }
        self.step += 1;
        event
    }

    /// The next batch of `events` events of a trace.
    pub fn batch(&mut self, trace_id: Uuid, flow_id: &str, sequence: u64, events: usize) -> Batch {
        let client_id = self.client_id.clone();
        let events = (0..events).map(|_| self.event()).collect();
        Batch { trace_id, flow_id: flow_id.to_owned(), client_id, sequence, events }
    }

    /// Batches of traces of [`TRACE_BATCHES`] batches each, over ten flows.
    pub fn batches(&mut self, count: usize) -> Vec<Batch> {
        let mut trace_id = Uuid::nil();
        (0..count)
            .map(|index| {
                let (trace, place) = (index / TRACE_BATCHES, index % TRACE_BATCHES);
                if place == 0 {
                    trace_id = self.uuid();
                }
                let flow_id = format!("orders_{}_1763900000", trace % 10);
                self.batch(trace_id, &flow_id, (place * BATCH_EVENTS) as u64, BATCH_EVENTS)
            })
            .collect()
    }

    fn plain(&mut self, event_type: TraceEventType, actor: &str, port: Option<&str>, message: bool) -> TraceEvent {
        let measured = !message;
        TraceEvent {
            event_id: EventId(self.uuid()),
            timestamp: self.clock,
            event_type,
            actor_id: actor.to_owned(),
            data: TraceEventData {
                port: port.map(str::to_owned),
                message: message.then(|| MessageSnapshot {
                    message_type: "OrderNew".to_owned(),
                    size_bytes: self.rng.random_range(200..900),
                    checksum: String::new(),
                    serialized_data: Vec::new(),
                }),
                state_diff: None,
                error: None,
                performance_metrics: PerformanceMetrics {
                    execution_time_ns: if measured { self.rng.random_range(20_000..900_000) } else { 0 },
                    queue_depth: if measured { self.rng.random_range(0..50) } else { 0 },
                    ..PerformanceMetrics::default()
                },
                custom_attributes: HashMap::new(),
            },
            causality: CausalityInfo {
                parent_event_id: None,
                root_cause_event_id: EventId(self.uuid()),
                dependency_chain: Vec::new(),
                span_id: self.uuid().to_string(),
            },
        }
    }
}

impl Batch {
    /// The events as one JSON array.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.events)
    }

    /// What a client does with a batch: JSON, compressed, framed. It goes out under an id of its own each time, and as of `trace_id`.
    pub fn frame(&self, trace_id: Uuid) -> anyhow::Result<Vec<u8>> {
        let raw = self.json()?;
        let payload = Codec::Zstd.compress(&raw, 1)?;
        let header = BatchHeader {
            batch_id: Uuid::now_v7(),
            trace_id,
            flow_id: Some(self.flow_id.clone()),
            flow_name: None,
            client_id: self.client_id.clone(),
            sequence: self.sequence,
            dropped: 0,
            codec: Codec::Zstd,
            raw_size: u32::try_from(raw.len())?,
        };
        Ok(BatchFrame { header, payload: &payload }.encode())
    }

    /// The chunk that the server makes of the batch, as received at `received_us`.
    pub fn chunk(&self, origin: Origin, received_us: i64) -> anyhow::Result<Chunk> {
        let raw = self.json()?;
        let payload = Codec::Zstd.compress(&raw, 1)?;
        let mut builder = ChunkBuilder::new(Uuid::now_v7(), self.trace_id, "default", received_us, origin);
        let refused = builder.push_array(std::str::from_utf8(&raw)?, self.events.len())?;
        anyhow::ensure!(refused.is_empty(), "the benchmark's own events are refused: {refused:?}");
        let header = builder.header_mut();
        header.flow_id = Some(self.flow_id.clone());
        header.flow_name = Some(FlowNaming::default().name_of(&self.flow_id).to_owned());
        if origin == Origin::V2Batch {
            let client_id = self.client_id.clone();
            header.client = Some(ClientMark { client_id, sequence: self.sequence, dropped: 0, rejected: 0 });
        }
        Ok(builder.build_around(payload.into(), Codec::Zstd, raw.len()))
    }
}

/// The same chunk under another id, as of `trace_id`: what a store sees as new.
pub fn again(chunk: &Chunk, trace_id: Uuid) -> Chunk {
    let mut chunk = chunk.clone();
    chunk.header.chunk_id = Uuid::now_v7().as_bytes().to_vec();
    chunk.header.trace_id = trace_id.as_bytes().to_vec();
    chunk
}

/// Now, µs since the epoch.
pub fn now_us() -> i64 {
    Utc::now().timestamp_micros()
}

fn uuid(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}
