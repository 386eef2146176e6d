//! Chunks that are committed together, with their deliveries.

use futures_util::future::join_all;
use reflow_tracing_bus::{BusError, Delivery};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::{spans, work_span};
use tracing::{Span, field::Empty};

/// Chunks and their deliveries, in the same order.
#[derive(Default)]
pub(crate) struct Group {
    chunks: Vec<Chunk>,
    deliveries: Vec<Delivery>,
}

impl Group {
    /// Adds a chunk.
    pub fn push(&mut self, chunk: Chunk, delivery: Delivery) {
        self.chunks.push(chunk);
        self.deliveries.push(delivery);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// What goes to the store.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// What they weigh on the bus.
    pub fn bytes(&self) -> usize {
        self.deliveries.iter().map(|delivery| delivery.message.len()).sum()
    }

    /// A span of its commit, linked to what published the chunks (the exporter keeps the first 128 links).
    pub fn commit_span(&self) -> Span {
        let span = work_span!(
            "commit",
            otel.kind = "consumer",
            reflow.chunks = self.len() as i64,
            reflow.events = self.chunks.iter().map(|chunk| i64::from(chunk.header.event_count)).sum::<i64>(),
            reflow.bytes = self.bytes() as i64,
            reflow.stored_chunks = Empty,
            reflow.duplicate_chunks = Empty,
            reflow.rows = Empty,
        );
        for delivery in &self.deliveries {
            spans::links(&span, delivery.traceparent.as_deref());
        }
        span
    }

    /// How often the chunk that came the most often has come by now.
    pub fn attempts(&self) -> u64 {
        self.deliveries.iter().map(|delivery| delivery.attempt).max().unwrap_or(0)
    }

    /// Groups of one.
    pub fn split(self) -> impl DoubleEndedIterator<Item = Self> {
        let pairs = self.chunks.into_iter().zip(self.deliveries);
        pairs.map(|(chunk, delivery)| Self { chunks: vec![chunk], deliveries: vec![delivery] })
    }

    /// Reports that they are still being worked on. A report that is lost costs a redelivery.
    pub async fn progress(&self) {
        progress(&self.deliveries).await;
    }

    /// The deliveries, to be answered.
    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }
}

/// Reports deliveries as still being worked on.
pub(crate) async fn progress(deliveries: &[Delivery]) {
    for answer in join_all(deliveries.iter().map(|delivery| delivery.acker.progress())).await {
        if let Err(error) = answer {
            tracing::debug!(%error, "progress could not be reported");
        }
    }
}

/// Answers deliveries all at once; how many answers were lost.
pub(crate) async fn answer_all<F>(deliveries: Vec<Delivery>, answer: impl Fn(Delivery) -> F) -> u64
where
    F: Future<Output = Result<(), BusError>>,
{
    let answers = join_all(deliveries.into_iter().map(answer)).await;
    let lost: Vec<BusError> = answers.into_iter().filter_map(Result::err).collect();
    if let Some(error) = lost.first() {
        tracing::warn!(%error, lost = lost.len(), "answers to the bus were lost; the chunks come again");
    }
    lost.len() as u64
}
