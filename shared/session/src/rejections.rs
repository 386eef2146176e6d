//! Which events of a batch were refused, and why, as its answer tells.
//!
//! Every one is told by its index: clients count by the list. Why, only the first are told, since what is wrong with ten thousand events
//! is wrong with them in the same few ways: an answer stays small beside a batch, and resent gets the same. It waits for its turn as
//! what it tells, and is written only then, so that a session whose peer does not read keeps one at most.

use bytes::Bytes;
use reflow_tracing_chunk::Rejected;
use reflow_tracing_protocol::wire::{RejectedEvent, Response};
use uuid::Uuid;

use crate::answer::{Answer, Pieces, text};
use crate::capabilities::Shared;
use crate::pending::Turn;

/// Reasons are told in full up to so many bytes in all.
const MAX_REASONS_BYTES: usize = 16 << 10;
/// Stands for the other reasons.
const NOT_TOLD: &str = "not valid";
/// Lists up to this length need not wait for their turn.
const SHORT: usize = 100;
/// Longer lists take room that large answers share, and are sent in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;
/// What an index and [`NOT_TOLD`] take in an answer, at most.
const ENTRY_BYTES: usize = 48;

/// The refused events of a batch.
#[derive(Debug)]
pub(crate) struct Rejections {
    indices: Vec<u32>,
    /// Of the first of them.
    reasons: Vec<String>,
}

impl Rejections {
    pub(crate) fn new(rejected: Vec<(usize, Rejected)>) -> Self {
        let indices = rejected.iter().map(|(index, _)| *index as u32).collect();
        let mut left = MAX_REASONS_BYTES;
        let told = rejected.into_iter().map_while(|(_, reason)| {
            let reason = reason.to_string();
            left = left.checked_sub(reason.len())?;
            Some(reason)
        });
        Self { reasons: told.collect(), indices }
    }

    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The answer to a batch of which `accepted` events are durable; a long one when its `turn` has come.
    pub(crate) async fn answer(self, shared: &Shared, mut turn: Turn, batch_id: Uuid, accepted: usize) -> Answer {
        if self.len() > SHORT && !turn.come().await {
            // Nobody waits for it any more.
            return Answer::Many(Vec::new());
        }
        let bytes = self.len() * ENTRY_BYTES;
        let taken = if bytes > PIECE_BYTES { shared.answers.take(bytes).await } else { None };
        let durable = shared.capabilities.durable;
        match text(&Response::BatchRecorded { batch_id, accepted, rejected: self.told(), durable }) {
            Answer::Text(whole) if whole.len() > PIECE_BYTES => {
                let pieces = whole.as_bytes().chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
                Answer::Pieces(Pieces { pieces, taken })
            }
            answer => answer,
        }
    }

    fn told(self) -> Vec<RejectedEvent> {
        let reasons = self.reasons.into_iter().chain(std::iter::repeat_with(|| NOT_TOLD.to_owned()));
        let event = |(index, reason)| RejectedEvent { index: index as usize, reason };
        self.indices.into_iter().zip(reasons).map(event).collect()
    }
}
