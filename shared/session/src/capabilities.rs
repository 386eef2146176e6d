//! What a service gives its sessions to work with.

use std::sync::Arc;

use reflow_tracing_bus::{Bus, Directory, HistoryClient};
use reflow_tracing_chunk::Chunk;
use serde_json::Value;

use crate::budget::Budget;
use crate::flow::SeenFlows;
use crate::limits::SessionLimits;
use crate::metrics::SessionMetrics;
use crate::status::StatusCache;

/// What the sessions of a service can do.
#[derive(Clone)]
pub struct Capabilities {
    /// Takes events; without it they are refused with an error that says who takes them.
    pub ingest: Option<Arc<dyn Bus>>,
    /// Answers questions.
    pub history: Option<Arc<dyn HistoryClient>>,
    /// Shows chunks live.
    pub tail: Option<Arc<dyn Bus>>,
    /// Which flow a trace belongs to.
    pub directory: Arc<dyn Directory>,
    /// The answer to `GetMetrics`.
    pub figures: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Whether what is acknowledged survives a crash: false with the memory backend.
    pub durable: bool,
    /// The service's name, for the page and for refusals.
    pub service: &'static str,
}

/// What all sessions of a process share.
pub(crate) struct Shared {
    pub(crate) capabilities: Capabilities,
    pub(crate) limits: SessionLimits,
    pub(crate) metrics: SessionMetrics,
    /// Bytes of frames that are not durable yet.
    pub(crate) budget: Budget,
    /// Bytes being decompressed, and texts of events and traces that came compressed until they are durable. Apart from `budget`: who holds
    /// bytes there may wait for room here, and never the other way round, so that no frame waits for its own decompression.
    pub(crate) decompression: Budget,
    /// Bytes of chunks opened for live viewers. Apart from `decompression`: who waits for room here may hold some there. Nobody who has some waits
    /// for anything.
    pub(crate) opened: Budget,
    /// Bytes of large answers: while one is gathered as many as it may have, then as many as are still to be sent.
    pub(crate) answers: Budget,
    pub(crate) statuses: StatusCache,
    pub(crate) seen_flows: SeenFlows,
}

/// Room that a chunk's header may take in a message beside the payload's `max_chunk_bytes`.
const HEADER_ROOM_BYTES: usize = 96 << 10;
/// Answers of the largest size that are held at once, process-wide.
const LARGEST_ANSWERS: usize = 2;
/// Requests of the largest size that are decompressed at once, process-wide: no frame needs the whole room, which it would get only when nobody
/// else has any.
const LARGEST_DECOMPRESSED: usize = 2;

impl Shared {
    pub(crate) fn new(capabilities: Capabilities, limits: SessionLimits, metrics: SessionMetrics) -> Self {
        Self {
            budget: Budget::new(limits.byte_budget),
            decompression: Budget::new(LARGEST_DECOMPRESSED * limits.max_decompressed_bytes),
            opened: Budget::new(limits.max_decompressed_bytes),
            answers: Budget::new(LARGEST_ANSWERS * limits.max_answer_bytes),
            statuses: StatusCache::default(),
            seen_flows: SeenFlows::default(),
            capabilities,
            limits,
            metrics,
        }
    }

    /// What sessions of a service share that has no bus.
    #[cfg(test)]
    pub(crate) fn for_test(history: Option<Arc<dyn HistoryClient>>) -> Self {
        use reflow_tracing_bus::{DirectoryOptions, MemoryDirectory};
        let capabilities = Capabilities {
            ingest: None,
            history,
            tail: None,
            directory: Arc::new(MemoryDirectory::new(DirectoryOptions::default())),
            figures: Arc::new(|| Value::Null),
            durable: true,
            service: "reflow-test",
        };
        let metrics = reflow_tracing_service::Metrics::try_new("test").and_then(|all| SessionMetrics::register(&all));
        Self::new(capabilities, SessionLimits::default(), metrics.expect("metrics have different names"))
    }

    /// Whether a chunk fits into one message of the bus.
    pub(crate) fn fits(&self, chunk: &Chunk) -> bool {
        chunk.payload.len() <= self.limits.max_chunk_bytes
            && chunk.encoded_len() <= self.limits.max_chunk_bytes + HEADER_ROOM_BYTES
    }
}
