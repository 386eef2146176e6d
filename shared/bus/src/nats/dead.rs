//! Dead letters: a stream of their own, the message as it was, the reason in a header.
//!
//! Guarantee: `append` returns when the server has stored the letter; the same message with the same reason again within the
//! duplicate window is one letter, so that a crash between letter and termination leaves no double.

use std::error::Error as _;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind};
use bytes::Bytes;
use chrono::Utc;
use uuid::Uuid;

use super::connection::{Inner, StreamState};
use super::subjects::{DEAD, DEAD_SUBJECT};
use super::{NatsBus, NatsOptions};
use crate::error::{BusError, BusErrorKind};
use crate::stats::add;
use crate::{Bus, DeadLetter};

const REASON: &str = "Reflow-Reason";
const AT_US: &str = "Reflow-At-Us";
/// A reason is for reading; what is longer is cut.
const MAX_REASON_BYTES: usize = 1024;
const CONTEXT: &str = "dead letter";

pub(crate) async fn append(inner: &Inner, message: Bytes, reason: &str) -> Result<(), BusError> {
    let id = Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_OID, reason.as_bytes()), &message);
    let mut headers = HeaderMap::new();
    headers.insert(REASON, header_text(reason));
    headers.insert(AT_US, Utc::now().timestamp_micros().to_string());
    let publish = PublishMessage::build().payload(message).headers(headers).message_id(id.to_string());
    let stored = async { inner.context.send_publish(DEAD_SUBJECT, publish).await?.await };
    let error = match stored.await {
        Ok(ack) => {
            add(&inner.stats.dead_lettered, u64::from(!ack.duplicate));
            return Ok(());
        }
        Err(error) => error,
    };
    let refusal = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    Err(match (error.kind(), refusal) {
        (PublishErrorKind::MaxPayloadExceeded, _) => BusError::new(BusErrorKind::TooLarge, CONTEXT, error.to_string()),
        (PublishErrorKind::StreamNotFound, _) => {
            inner.repair().await;
            BusError::new(BusErrorKind::Unavailable, CONTEXT, format!("stream {DEAD} is not there"))
        }
        (PublishErrorKind::TimedOut, _) => BusError::new(BusErrorKind::Timeout, CONTEXT, "no acknowledgement in time"),
        (_, Some(refusal)) => {
            // The server's own limit: it may not be the one of our settings.
            let limit = inner.stream_state(DEAD, &inner.link).await.ok().and_then(|state| state.limit_bytes);
            let limit = limit.map(|bytes| format!(" (max_bytes {bytes})")).unwrap_or_default();
            BusError::new(BusErrorKind::Full, CONTEXT, format!("stream {DEAD}{limit}: {refusal}"))
        }
        _ => BusError::new(BusErrorKind::Unavailable, CONTEXT, error.to_string()),
    })
}

impl NatsBus {
    /// The newest dead letters of a server, newest first, and how many there are. For somebody who only looks: nothing is declared, so
    /// that nobody else's settings are changed by it. A server that is away is waited for.
    ///
    /// # Errors
    ///
    /// [`BusErrorKind::Setup`] when no service has declared the streams there, and whatever keeps letters from being read.
    pub async fn read_dead_letters(options: NatsOptions, limit: usize) -> Result<(Vec<DeadLetter>, u64), BusError> {
        let bus = Self::connect(options).await?;
        let inner = &bus.inner;
        let state = bus
            .when_reachable("read dead letters", || inner.find_stream(DEAD, &inner.link))
            .await?
            .ok_or_else(|| {
                let reason =
                    format!("there is no stream {DEAD}: no service has ever started with this server and account");
                BusError::new(BusErrorKind::Setup, "read dead letters", reason)
            })?;
        let letters = newest(inner, state, limit).await?;
        bus.close().await;
        Ok((letters, state.messages))
    }
}

pub(crate) async fn newest(inner: &Inner, state: StreamState, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
    let failed = |reason: String| BusError::new(BusErrorKind::Unavailable, "read dead letters", reason);
    let stream = inner.context.get_stream_no_info(DEAD).await.map_err(|error| failed(error.to_string()))?;
    let mut letters = Vec::new();
    let mut sequence = state.last_sequence;
    while letters.len() < limit && sequence >= state.first_sequence.max(1) {
        match stream.get_raw_message(sequence).await {
            Ok(message) => letters.push(DeadLetter {
                reason: header(&message.headers, REASON).unwrap_or_default(),
                at_us: header(&message.headers, AT_US).and_then(|text| text.parse().ok()).unwrap_or(0),
                message: message.payload,
            }),
            // An operator may have deleted single letters.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        sequence -= 1;
    }
    Ok(letters)
}

fn is_missing(error: &RawMessageError) -> bool {
    error.kind() == RawMessageErrorKind::NoMessageFound
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

/// One line, not too long.
fn header_text(reason: &str) -> String {
    let cut = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
