//! Whatever arrives as a frame: a request in text, compressed, or a binary batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reflow_tracing_protocol::{
    codec::Codec,
    wire::{BatchFrame, Event, Request},
};

/// Little, so that a bomb is a refusal and not a slow run.
const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Request::parse(text);
        let _ = serde_json::from_str::<Event<'_>>(text);
    }
    if let Ok(frame) = BatchFrame::decode(bytes) {
        let _ = frame.header.codec.decompress(frame.payload, MAX_BYTES, MAX_BYTES);
    }
    if let Some(codec) = Codec::sniff(bytes) {
        let _ = codec.decompress(bytes, MAX_BYTES, MAX_BYTES);
    }
});
