//! What the client builds on is there: clocks, random numbers, codecs in pure Rust.

use reflow_tracing_protocol::TraceEvent;
use reflow_tracing_protocol::codec::{Codec, CodecError};
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
fn events_carry_ids_of_their_own_and_the_time_of_javascript() {
    let before = js_sys::Date::now();
    let events: Vec<_> = (0..100).map(|i| TraceEvent::actor_created(i.to_string())).collect();
    let after = js_sys::Date::now();
    let ids: std::collections::HashSet<_> = events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 100);
    for event in &events {
        let at = event.timestamp.timestamp_micros() as f64 / 1_000.0;
        assert!((before.floor()..=after + 1.0).contains(&at), "{at} is not between {before} and {after}");
    }
}

#[wasm_bindgen_test]
fn codecs_in_pure_rust_work_and_zstd_says_that_it_is_not_there() {
    let raw = b"the same words, ".repeat(1_000);
    for codec in [Codec::Lz4, Codec::Gzip, Codec::Brotli] {
        let small = codec.compress(&raw, 1).expect("compressed");
        assert!(small.len() < raw.len() / 10, "{codec:?}: {} bytes", small.len());
        assert_eq!(codec.decompress(&small, raw.len(), 0).expect("decompressed"), raw);
        assert!(matches!(codec.decompress(&small, raw.len() - 1, 0), Err(CodecError::TooLarge { .. })));
    }
    assert!(matches!(Codec::Zstd.compress(&raw, 1), Err(CodecError::Unsupported("zstd"))));
}
