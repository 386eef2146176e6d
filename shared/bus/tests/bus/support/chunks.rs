//! Chunks to send, and a writer that only acknowledges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reflow_tracing_bus::{Bus, BusErrorKind, PullLimits};
use reflow_tracing_chunk::{Chunk, HEADER_VERSION, Header};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const TENANT: &str = "default";

/// A chunk of a flow with a payload of so many bytes.
pub fn chunk_of(flow: Option<&str>, payload_bytes: usize) -> Chunk {
    let header = Header {
        version: HEADER_VERSION,
        chunk_id: Uuid::now_v7().as_bytes().to_vec(),
        trace_id: Uuid::new_v4().as_bytes().to_vec(),
        tenant: TENANT.to_owned(),
        flow_id: flow.map(str::to_owned),
        flow_name: flow.map(str::to_owned),
        event_count: 1,
        ..Header::default()
    };
    Chunk { header, payload: Bytes::from(vec![7; payload_bytes]) }
}

/// A chunk of a run `flow_id` whose program calls itself `flow_name`.
pub fn chunk_named(flow_id: &str, flow_name: &str) -> Chunk {
    let mut chunk = chunk_of(Some(flow_name), 100);
    chunk.header.flow_id = Some(flow_id.to_owned());
    chunk
}

pub fn chunk() -> Chunk {
    chunk_of(Some("orders"), 100)
}

pub fn id_of(message: &Bytes) -> Uuid {
    Chunk::decode(message.clone()).unwrap().header.chunk_uuid()
}

/// Limits for a test that waits for one thing.
pub fn limits() -> PullLimits {
    PullLimits {
        max_messages: 100,
        max_bytes: 16 << 20,
        linger: Duration::from_millis(5),
        max_wait: Duration::from_millis(500),
    }
}

/// How often each chunk was committed.
pub type Committed = Arc<Mutex<BTreeMap<Uuid, u64>>>;

/// A writer that commits to memory and acknowledges, until the bus closes.
pub async fn spawn_writer(bus: &Arc<dyn Bus>) -> (Committed, JoinHandle<()>) {
    let committed = Committed::default();
    let mut consumer = bus.consumer().await.unwrap();
    let seen = Arc::clone(&committed);
    let task = tokio::spawn(async move {
        loop {
            let batch = match consumer.pull(&limits()).await {
                Ok(batch) => batch,
                Err(error) if error.kind == BusErrorKind::Closed => return,
                Err(_) => continue,
            };
            for delivery in batch {
                *seen.lock().unwrap().entry(id_of(&delivery.message)).or_default() += 1;
                // A lost answer means another delivery.
                let _ = delivery.acker.ack().await;
            }
        }
    });
    (committed, task)
}
