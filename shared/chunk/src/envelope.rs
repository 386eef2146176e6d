//! Header and payload as one message: what travels over the bus.
//!
//! Layout: magic `RFC1` (4 bytes), header length (u32, little endian), header (protobuf), payload (to the end).

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::header::{HEADER_VERSION, Header};

/// First bytes of an encoded chunk.
pub const MAGIC: [u8; 4] = *b"RFC1";
const PREFIX: usize = MAGIC.len() + 4;

/// Events of one trace: an index and the compressed events.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// What is in it.
    pub header: Header,
    /// The events, compressed as the header says; empty in a chunk of lifecycle marks alone.
    pub payload: Bytes,
}

/// Why bytes are not a chunk. Permanent: the same bytes never decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short, or not starting with the magic number.
    #[error("not a chunk: expected magic RFC1 and a header length, got {0} bytes starting otherwise")]
    NotAChunk(usize),
    /// The header length points past the end.
    #[error("chunk header of {header} bytes does not fit in a message of {message} bytes")]
    Truncated {
        /// Header length told.
        header: usize,
        /// Bytes there are.
        message: usize,
    },
    /// The header is not protobuf of this shape.
    #[error("chunk header cannot be read: {0}")]
    Header(String),
    /// Written by a newer version than this build reads.
    #[error("chunk header version {found} is newer than {HEADER_VERSION}, the newest this build reads")]
    Version {
        /// Version in the header.
        found: u32,
    },
    /// An id is not 16 bytes.
    #[error("chunk header field {0} is not 16 bytes")]
    Id(&'static str),
}

impl Chunk {
    /// Bytes of the encoded message.
    pub fn encoded_len(&self) -> usize {
        PREFIX + self.header.encoded_len() + self.payload.len()
    }

    /// One message: magic, header, payload.
    pub fn encode(&self) -> Bytes {
        let header_len = self.header.encoded_len();
        let mut out = BytesMut::with_capacity(PREFIX + header_len + self.payload.len());
        out.put_slice(&MAGIC);
        out.put_u32_le(header_len as u32);
        // Protobuf encoding fails only for lack of room, and `BytesMut` grows.
        self.header.encode_raw(&mut out);
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// Reads a message; the payload shares its bytes.
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let bad = DecodeError::NotAChunk(message.len());
        let Some(prefix) = message.first_chunk::<PREFIX>() else { return Err(bad) };
        if prefix[..4] != MAGIC {
            return Err(bad);
        }
        let header_len = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        let end = PREFIX.saturating_add(header_len);
        if end > message.len() {
            return Err(DecodeError::Truncated { header: header_len, message: message.len() });
        }
        let header = decode_header(&message[PREFIX..end])?;
        Ok(Self { header, payload: message.slice(end..) })
    }
}

/// Reads and checks a header alone, as a store keeps it.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let header = Header::decode(bytes).map_err(|error| DecodeError::Header(error.to_string()))?;
    if header.version > HEADER_VERSION {
        return Err(DecodeError::Version { found: header.version });
    }
    if header.chunk_id.len() != 16 {
        return Err(DecodeError::Id("chunk_id"));
    }
    if header.trace_id.len() != 16 {
        return Err(DecodeError::Id("trace_id"));
    }
    if header.execution_id.as_ref().is_some_and(|id| id.len() != 16) {
        return Err(DecodeError::Id("execution_id"));
    }
    if header.sent_ids.len() % 16 != 0 {
        return Err(DecodeError::Id("sent_ids"));
    }
    Ok(header)
}

impl Header {
    /// The header alone, as a store keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a header written by [`Header::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_header(bytes)
    }
}
