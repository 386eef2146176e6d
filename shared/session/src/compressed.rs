//! Requests that come compressed.
//!
//! Guarantee: nobody keeps room to decompress in for as long as a peer or history pleases. Events and traces keep that of their text until they are
//! durable, which everybody waits for; questions and subscriptions, which wait for history and for whoever reads the answers before them, change it
//! for room of the ordinary byte budget as soon as they are read.

use bytes::Bytes;
use reflow_tracing_protocol::codec::{Codec, CodecError};
use reflow_tracing_protocol::wire::Code;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::answer::Refusal;
use crate::batch::over_decompressed;
use crate::budget::Taken;
use crate::capabilities::Shared;
use crate::dispatch::{self, Action, Understood};

/// Largest question that may come compressed: one such a session waits for the byte budget without counting yet. NATS takes no larger ones either.
const MAX_QUESTION_BYTES: usize = 1 << 20;
/// What is tried first, at least.
const USUAL_BYTES: usize = 64 << 10;

/// A request that has been decompressed and read.
pub(crate) struct Decompressed {
    pub(crate) text: Utf8Bytes,
    pub(crate) understood: Result<Understood, Refusal>,
    /// What the text takes from now on.
    pub(crate) taken: Option<Taken>,
}

/// Waits for room, decompresses and reads. `taken` is what the frame holds as it came.
pub(crate) async fn read(shared: &Shared, frame: Bytes, taken: Option<Taken>) -> Result<Decompressed, Refusal> {
    let (text, room) = decompress(shared, &frame).await?;
    // Whoever waits for the byte budget holds nothing of it, nor room that others need to give theirs back.
    drop((frame, taken));
    let understood = dispatch::text(&text);
    let asks = |understood: &Understood| matches!(understood.action, Action::Ask { .. } | Action::Subscribe(_));
    if !understood.as_ref().is_ok_and(asks) {
        return Ok(Decompressed { text, understood, taken: room });
    }
    if text.len() > MAX_QUESTION_BYTES {
        let message = format!("question is {} bytes long; compressed ones may have {MAX_QUESTION_BYTES}", text.len());
        return Err(Refusal::new(Code::LimitExceeded, "question_size", message));
    }
    drop(room);
    let taken = shared.budget.take(text.len()).await;
    Ok(Decompressed { text, understood, taken })
}

/// The text of a frame, with the room that it takes.
async fn decompress(shared: &Shared, frame: &Bytes) -> Result<(Utf8Bytes, Option<Taken>), Refusal> {
    let limits = &shared.limits;
    let codec = Codec::sniff(frame).unwrap_or(limits.request_codec);
    let max = limits.max_decompressed_bytes;
    // How large it will be is not told. A first try with what is usual spares the others' room.
    let usual = frame.len().saturating_mul(16).max(USUAL_BYTES).min(max);
    for room in [usual, max] {
        let taken = shared.decompression.take(room).await;
        match codec.decompress(frame, room, 0) {
            Ok(raw) => {
                let mut text = String::from_utf8(raw).map_err(|error| {
                    Refusal::new(Code::SerializationError, "utf8", format!("decompressed frame is not UTF-8: {error}"))
                })?;
                // What the decompressor made room for and did not use is given back, in memory as in the budget.
                text.shrink_to_fit();
                let taken = taken.map(|taken| taken.trimmed(text.len()));
                return Ok((text.into(), taken));
            }
            Err(CodecError::TooLarge { .. }) => {}
            Err(error) => {
                let message = format!(
                    "binary frame is no compressed request: {error}; known are zstd, gzip and lz4 (by magic number), else {}",
                    limits.request_codec.name()
                );
                return Err(Refusal::new(Code::SerializationError, "compressed_frame", message));
            }
        }
    }
    Err(over_decompressed(max))
}
