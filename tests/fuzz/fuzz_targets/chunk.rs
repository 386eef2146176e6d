//! Whatever lies on the bus or in the store: a chunk, its events, and what a v1 reader is given of them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use reflow_tracing_chunk::{Chunk, V1Rewrite, decode_events, merge};

fuzz_target!(|bytes: &[u8]| {
    let Ok(chunk) = Chunk::decode(Bytes::copy_from_slice(bytes)) else { return };
    // A told size of a few hundred megabytes is allowed and would only be slow here.
    if chunk.header.raw_size > 1 << 20 {
        return;
    }
    if let Ok(events) = decode_events(&chunk.header, &chunk.payload) {
        let rewrite = V1Rewrite::of(&chunk.header);
        for (_, raw) in events.iter() {
            let _ = rewrite.apply(raw);
        }
    }
    let _ = merge(&[chunk.clone(), chunk], 64 << 10);
});
