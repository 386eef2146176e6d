//! Hands chunks to the bus and waits until they are durable.

use futures_util::future::join_all;
use reflow_tracing_chunk::Chunk;
use reflow_tracing_protocol::wire::Code;
use reflow_tracing_service::{spans, work_span};
use tracing::Instrument;

use crate::answer::Refusal;
use crate::capabilities::Shared;

/// Publishes a chunk; `Ok` is durable.
pub(crate) async fn publish(shared: &Shared, chunk: Chunk) -> Result<(), Refusal> {
    let Some(bus) = &shared.capabilities.ingest else { return Err(no_ingest(shared)) };
    let header = &chunk.header;
    let span = work_span!(
        "publish",
        otel.kind = "producer",
        reflow.trace_id = %header.trace_uuid(),
        reflow.chunk_id = %header.chunk_uuid(),
        reflow.events = i64::from(header.event_count),
        reflow.bytes = chunk.payload.len() as i64,
    );
    let timer = shared.metrics.publish_seconds.start_timer();
    let outcome = bus.publish(chunk).instrument(span.clone()).await.map_err(Refusal::from);
    timer.observe_duration();
    spans::ended(&span, outcome.as_ref().err().map_or("durable", |refusal| refusal.reason), outcome.is_err());
    outcome
}

/// Publishes chunks at once; their outcomes are in their order.
pub(crate) async fn publish_all(shared: &Shared, chunks: Vec<Chunk>) -> Vec<Result<(), Refusal>> {
    join_all(chunks.into_iter().map(|chunk| publish(shared, chunk))).await
}

/// This service takes no events.
pub(crate) fn no_ingest(shared: &Shared) -> Refusal {
    let message = format!(
        "{} answers questions and takes no events; send events to a reflow-collector (or to reflow-tracing)",
        shared.capabilities.service
    );
    Refusal::new(Code::Unsupported, "no_ingest", message)
}
