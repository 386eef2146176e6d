//! A v2 batch becomes ONE chunk: `chunk_id = batch_id`. In the common case the client's compressed bytes are the chunk's payload.

use std::sync::Arc;

use bytes::Bytes;
use reflow_tracing_chunk::{BuildError, ChunkBuilder, ClientMark, MAX_NAME_BYTES, Origin, sanitize_name};
use reflow_tracing_protocol::codec::{Codec, CodecError};
use reflow_tracing_protocol::wire::{BatchHeader, Code, Response, brief};

use crate::answer::{Answer, Refusal, text};
use crate::ask::Dialect;
use crate::budget::Taken;
use crate::capabilities::Shared;
use crate::clock::now_us;
use crate::flow::Flow;
use crate::pending::Turn;
use crate::publish::publish;
use crate::rejections::Rejections;

/// A batch as it came.
pub(crate) struct Batch {
    pub(crate) header: BatchHeader,
    /// Compressed as the header says.
    pub(crate) payload: Bytes,
    /// What is known of the trace's flow; the outer `None`: ask the directory.
    pub(crate) flow: Option<Option<Flow>>,
    /// The flow id came with this batch and the directory has not heard of it.
    pub(crate) tell: bool,
    /// What the frame holds of the byte budget.
    pub(crate) taken: Option<Taken>,
    /// When its answer is due.
    pub(crate) turn: Turn,
}

/// What a published batch leaves behind.
pub(crate) struct Recorded {
    pub(crate) answer: Answer,
    pub(crate) learned: Option<(uuid::Uuid, Option<Flow>)>,
}

impl Batch {
    /// Checks, indexes and publishes the batch and answers it.
    pub(crate) async fn publish(mut self, shared: Arc<Shared>) -> Recorded {
        let trace_id = self.header.trace_id;
        let mut learned = None;
        let flow = match self.flow.take() {
            Some(flow) => flow,
            None => {
                let flow = Flow::find(&shared, trace_id).await;
                learned = Some((trace_id, flow.clone()));
                flow
            }
        };
        if let (true, Some(flow)) = (self.tell, &flow) {
            flow.tell(&shared, trace_id).await;
        }
        let batch_id = self.header.batch_id;
        let answer = match self.record(&shared, flow).await {
            Ok(answer) => answer,
            Err(refusal) => {
                shared.metrics.batches.with_label_values(&["refused"]).inc();
                shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
                refusal.answer(Dialect::V2, Some(batch_id), None)
            }
        };
        Recorded { answer, learned }
    }

    async fn record(self, shared: &Shared, flow: Option<Flow>) -> Result<Answer, Refusal> {
        let Self { header, payload, taken, turn, .. } = self;
        let limits = &shared.limits;
        let too_large = |batch_id| {
            shared.metrics.batches.with_label_values(&["too_large"]).inc();
            text(&Response::BatchTooLarge { batch_id, max: limits.max_chunk_bytes })
        };
        // What comes as text is compressed here; whether it fits is seen then.
        if header.codec != Codec::None && payload.len() > limits.max_chunk_bytes {
            return Ok(too_large(header.batch_id));
        }
        let raw_size = header.raw_size as usize;
        if raw_size > limits.max_decompressed_bytes {
            return Err(over_decompressed(limits.max_decompressed_bytes));
        }
        check_name("client_id", &header.client_id)?;
        let room = if header.codec == Codec::None { 0 } else { raw_size };
        let decompressing = shared.decompression.take(room).await;
        // Between here and the publish nothing waits: the room is given back as soon as the events are indexed.
        let raw = header.codec.decompress(&payload, raw_size, raw_size).map_err(|error| match error {
            CodecError::TooLarge { .. } => Refusal::new(
                Code::InvalidRequest,
                "raw_size",
                format!("payload decompresses to more than the {raw_size} bytes its header tells (raw_size)"),
            ),
            error => Refusal::new(Code::SerializationError, "payload", error.to_string()),
        })?;
        let text_of = std::str::from_utf8(&raw).map_err(|error| {
            Refusal::new(Code::SerializationError, "utf8", format!("events are not UTF-8: {error}"))
        })?;
        let tenant = &limits.tenant;
        let mut builder = ChunkBuilder::new(header.batch_id, header.trace_id, tenant, now_us(), Origin::V2Batch);
        let rejected = Rejections::new(builder.push_array(text_of, limits.max_batch_events).map_err(build_refusal)?);
        let accepted = builder.event_count();
        if let Some(flow) = &flow {
            flow.fill(builder.header_mut());
        }
        builder.header_mut().client = Some(ClientMark {
            client_id: sanitize_name(&header.client_id).into_owned(),
            sequence: header.sequence,
            dropped: header.dropped,
            rejected: rejected.len() as u32,
        });
        let chunk = if !rejected.is_empty() || accepted == 0 {
            builder.build(limits.codec, limits.level).map_err(build_refusal)?
        } else if header.codec == Codec::None {
            let payload = limits.codec.compress(&raw, limits.level).map_err(|error| build_refusal(error.into()))?;
            builder.build_around(payload.into(), limits.codec, raw.len())
        } else {
            builder.build_around(payload.clone(), header.codec, raw.len())
        };
        drop(raw);
        // The answer to what was refused may wait long for its turn: by then nothing is held of the batch.
        drop((payload, decompressing));
        if !shared.fits(&chunk) {
            return Ok(too_large(header.batch_id));
        }
        publish(shared, chunk).await?;
        drop(taken);

        let metrics = &shared.metrics;
        metrics.batches.with_label_values(&["recorded"]).inc();
        metrics.lossy_batches.inc_by((header.dropped > 0).into());
        metrics.accepted.inc_by(accepted as u64);
        metrics.events.with_label_values(&["refused"]).inc_by(rejected.len() as u64);
        metrics.refused.with_label_values(&["event"]).inc_by(rejected.len() as u64);
        Ok(rejected.answer(shared, turn, header.batch_id, accepted).await)
    }
}

pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    check_length(field, sanitize_name(name).len())
}

/// Names and ids are short.
pub(crate) fn check_length(field: &str, bytes: usize) -> Result<(), Refusal> {
    if bytes <= MAX_NAME_BYTES {
        return Ok(());
    }
    let message = format!("{field} is {bytes} bytes long; at most {MAX_NAME_BYTES} are allowed");
    Err(Refusal::new(Code::InvalidRequest, "name", message))
}

pub(crate) fn over_decompressed(max: usize) -> Refusal {
    let message = format!("frame decompresses to more than {max} bytes (max_decompressed_bytes); split it");
    Refusal::new(Code::LimitExceeded, "decompressed_size", message)
}

fn build_refusal(error: BuildError) -> Refusal {
    match error {
        BuildError::TooManyEvents { max } => Refusal::new(
            Code::LimitExceeded,
            "batch_events",
            format!("batch holds more than {max} events (max_batch_events); split it"),
        ),
        error => Refusal::new(Code::SerializationError, "payload", brief(error)),
    }
}
