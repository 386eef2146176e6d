//! The binary batch of v2: a small plain header, then the events as one compressed JSON array.
//!
//! Layout: magic `RFB2` (4 bytes), header length (u32, little endian), header (JSON of [`BatchHeader`]), payload (to the end).
//! The payload is compressed once, by the client; the same bytes travel over the bus and lie in the store.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::Codec;

/// First bytes of a binary batch frame. No compression format starts so.
pub const BATCH_MAGIC: [u8; 4] = *b"RFB2";
const PREFIX: usize = 8;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What a batch says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// Identifies the batch (UUIDv7). Sending it again is harmless.
    pub batch_id: Uuid,
    /// The ONE trace its events belong to.
    pub trace_id: Uuid,
    /// The flow, where the client knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
    /// What to group the flow by, where that is not the flow id without its generated tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_name: Option<String>,
    /// The client's id for itself.
    pub client_id: String,
    /// Events of this trace that the client had recorded before the first of this batch, dropped ones included.
    pub sequence: u64,
    /// How many of the trace's events the client has dropped so far.
    pub dropped: u64,
    /// Codec of the payload.
    pub codec: Codec,
    /// Bytes of the payload when decompressed.
    pub raw_size: u32,
}

/// A binary batch frame, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFrame<'a> {
    /// What it says of itself.
    pub header: BatchHeader,
    /// The compressed JSON array.
    pub payload: &'a [u8],
}

/// Why bytes are not a batch frame.
#[derive(Debug, thiserror::Error)]
pub enum BatchFrameError {
    /// Cut off, or a header that is too long.
    #[error("batch frame of {frame} bytes cannot hold a header of {header} bytes (at most {MAX_HEADER_BYTES})")]
    Length {
        /// Bytes there are.
        frame: usize,
        /// Header length told.
        header: usize,
    },
    /// The header is not JSON of this shape.
    #[error("batch header: {0}")]
    Header(#[from] serde_json::Error),
}

impl<'a> BatchFrame<'a> {
    /// Whether a binary frame claims to be a batch.
    pub fn matches(frame: &[u8]) -> bool {
        frame.starts_with(&BATCH_MAGIC)
    }

    /// Reads a frame that [`BatchFrame::matches`].
    pub fn decode(frame: &'a [u8]) -> Result<Self, BatchFrameError> {
        let told = frame.get(4..PREFIX).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
        let length = BatchFrameError::Length { frame: frame.len(), header: told };
        if told > MAX_HEADER_BYTES {
            return Err(length);
        }
        let Some(header) = frame.get(PREFIX..PREFIX + told) else { return Err(length) };
        Ok(Self { header: serde_json::from_slice(header)?, payload: &frame[PREFIX + told..] })
    }

    /// Writes a frame.
    pub fn encode(&self) -> Vec<u8> {
        let header = serde_json::to_vec(&self.header).unwrap_or_default();
        let mut frame = Vec::with_capacity(PREFIX + header.len() + self.payload.len());
        frame.extend_from_slice(&BATCH_MAGIC);
        frame.extend_from_slice(&(header.len() as u32).to_le_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(self.payload);
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_went_in_comes_out(payload: Vec<u8>, client_id: String, sequence: u64, flow_id: Option<String>) {
            let header = BatchHeader {
                batch_id: Uuid::now_v7(), trace_id: Uuid::new_v4(), flow_name: flow_id.clone(), flow_id, client_id, sequence,
                dropped: 0, codec: Codec::Zstd, raw_size: 9,
            };
            let frame = BatchFrame { header, payload: &payload };
            let bytes = frame.encode();
            prop_assert!(BatchFrame::matches(&bytes));
            prop_assert_eq!(BatchFrame::decode(&bytes).unwrap(), frame);
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail: Vec<u8>) {
            let _ = BatchFrame::decode(&tail);
            let _ = BatchFrame::decode(&[&BATCH_MAGIC[..], &tail].concat());
        }
    }
}
