//! Publishing: many chunks in flight, each until the server has acknowledged it.
//!
//! Guarantee: a chunk is sent again, with the same id, until it is acknowledged, the caller gives up, or the bus closes. Only a
//! chunk larger than the server takes is an error. In flight is bounded by messages and bytes. While the stream is full one
//! publisher at a time asks whether there is room, so that a thousand waiting sessions cost the server one message, not a thousand.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::spans::{TRACEPARENT, traceparent};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::sleep;

use super::connection::{Inner, closed};
use super::options::NatsOptions;
use super::subjects::chunk_subject;
use crate::error::{BusError, BusErrorKind};
use crate::stats::{Gauge, add};

/// Room for headers in a message: ours, those that republishing adds, and the reason of a dead letter.
pub(crate) const HEADER_ROOM: usize = 2048;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What bounds publishing.
pub(crate) struct Flow {
    messages: Semaphore,
    kibibytes: Semaphore,
    max_kibibytes: u32,
    /// The stream was full when last tried.
    full: AtomicBool,
    /// Who asks whether there is room again.
    prober: Mutex<()>,
}

impl Flow {
    pub(crate) fn new(options: &NatsOptions) -> Self {
        let max_kibibytes = (options.max_in_flight_bytes >> 10).clamp(1, u32::MAX as usize) as u32;
        Self {
            messages: Semaphore::new(options.max_in_flight.max(1)),
            kibibytes: Semaphore::new(max_kibibytes as usize),
            max_kibibytes,
            full: AtomicBool::new(false),
            prober: Mutex::new(()),
        }
    }
}

/// What is sent, again and again if need be.
struct Outgoing {
    subject: String,
    id: String,
    message: Bytes,
    /// Whose work it is; a writer links its own to it.
    traceparent: Option<String>,
}

/// What became of one attempt.
enum Attempt {
    Stored(PublishAck),
    /// The stream is full, or the server cannot write.
    Full(String),
    /// The stream is not there.
    Missing,
    /// Anything else that may pass.
    Failed(String),
    TooLarge,
}

impl Inner {
    pub(crate) async fn publish(self: &Arc<Self>, chunk: Chunk) -> Result<(), BusError> {
        let outgoing = Outgoing {
            message: chunk.encode(),
            subject: chunk_subject(&chunk.header),
            id: chunk.header.chunk_uuid().to_string(),
            traceparent: traceparent(),
        };
        drop(chunk);
        let _publishing = Gauge::up(&self.stats, |stats| &stats.publishing);
        tokio::select! {
            biased;
            outcome = self.publish_until_stored(outgoing) => outcome,
            () = self.closed.cancelled() => Err(closed("publish")),
        }
    }

    async fn publish_until_stored(&self, outgoing: Outgoing) -> Result<(), BusError> {
        let (id, message) = (&outgoing.id, &outgoing.message);
        let kibibytes = (message.len() as u64).div_ceil(1024).min(u64::from(self.flow.max_kibibytes)) as u32;
        let _room = (
            self.flow.messages.acquire().await.map_err(|_| closed("publish"))?,
            self.flow.kibibytes.acquire_many(kibibytes).await.map_err(|_| closed("publish"))?,
        );
        let mut pause = FIRST_PAUSE;
        let mut first = true;
        loop {
            self.link.until_up().await;
            // Known only while connected, and a server may come back with another limit.
            self.check_size(message.len())?;
            // Held while the stream is full, so that only one asks.
            let mut probing = None;
            if self.flow.full.load(Ordering::Acquire) {
                add(&self.stats.full_waits, u64::from(first));
                probing = Some(self.flow.prober.lock().await);
                if self.flow.full.load(Ordering::Acquire) {
                    sleep(pause).await;
                } else {
                    probing = None;
                }
            }
            if !std::mem::take(&mut first) {
                add(&self.stats.publish_retries, 1);
            }
            match self.publish_once(&outgoing).await {
                Attempt::Stored(ack) => {
                    self.flow.full.store(false, Ordering::Release);
                    add(&self.stats.published, 1);
                    add(&self.stats.published_bytes, message.len() as u64);
                    add(&self.stats.duplicates, u64::from(ack.duplicate));
                    return Ok(());
                }
                Attempt::TooLarge => return Err(too_large(message.len(), self.link.client.max_payload())),
                Attempt::Full(reason) => {
                    if !self.flow.full.swap(true, Ordering::AcqRel) {
                        tracing::warn!(%reason, "chunk stream takes no more, publishers wait");
                    }
                    if probing.is_none() {
                        add(&self.stats.full_waits, 1);
                        continue;
                    }
                }
                Attempt::Missing => {
                    self.repair().await;
                    sleep(pause).await;
                }
                Attempt::Failed(reason) => {
                    tracing::debug!(%reason, chunk_id = %id, "publish failed, trying again");
                    sleep(pause).await;
                }
            }
            drop(probing);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn publish_once(&self, outgoing: &Outgoing) -> Attempt {
        let generation = self.link.generation();
        let mut publish = PublishMessage::build().payload(outgoing.message.clone()).message_id(&outgoing.id);
        if let Some(place) = &outgoing.traceparent {
            publish = publish.header(TRACEPARENT, place.as_str());
        }
        let acknowledged = async { self.context.send_publish(outgoing.subject.clone(), publish).await?.await };
        let acknowledged = tokio::select! {
            biased;
            acknowledged = acknowledged => acknowledged,
            // An acknowledgement that was on its way when the connection broke never comes.
            () = self.link.reconnected_since(generation) => return Attempt::Failed("connection was lost".to_owned()),
        };
        match acknowledged {
            Ok(ack) => Attempt::Stored(ack),
            Err(error) => classify(&error),
        }
    }

    pub(crate) fn check_size(&self, size: usize) -> Result<(), BusError> {
        let max = self.link.client.max_payload();
        if size.saturating_add(HEADER_ROOM) > max { Err(too_large(size, max)) } else { Ok(()) }
    }
}

fn classify(error: &PublishError) -> Attempt {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Attempt::Missing,
        PublishErrorKind::MaxPayloadExceeded => Attempt::TooLarge,
        _ => {
            let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
            match refusal.map(jetstream::Error::error_code) {
                Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => Attempt::TooLarge,
                Some(
                    ErrorCode::STREAM_STORE_FAILED
                    | ErrorCode::INSUFFICIENT_RESOURCES
                    | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                    | ErrorCode::STORAGE_RESOURCES_EXCEEDED,
                ) => Attempt::Full(error.to_string()),
                _ => Attempt::Failed(error.to_string()),
            }
        }
    }
}

fn too_large(size: usize, max: usize) -> BusError {
    let reason = format!(
        "a chunk of {size} bytes is larger than the nats server takes (max_payload = {max}, less {HEADER_ROOM} for headers)"
    );
    BusError::new(BusErrorKind::TooLarge, "publish", reason)
}
