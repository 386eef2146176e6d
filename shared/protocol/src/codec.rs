//! Compression, both ways, within a limit that is checked while decompressing.
//!
//! Guarantee: a compressed bomb costs no more memory than the limit the caller gives.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// A compression algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As it is.
    None,
    /// Zstandard frames (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
    /// LZ4 frame format.
    Lz4,
    /// Brotli (RFC 7932). Has no magic number.
    Brotli,
}

/// Why bytes could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// More than the caller allows.
    #[error("decompressed size is over the limit of {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Not what the codec expects: damaged or cut off.
    #[error("{codec} data is damaged or cut off: {source}")]
    Damaged {
        /// The codec's name.
        codec: &'static str,
        /// The library's error.
        source: io::Error,
    },
    /// This build has no such codec.
    #[error("codec {0} is not built in")]
    Unsupported(&'static str),
}

impl Codec {
    /// The name on the wire and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Brotli => "brotli",
        }
    }

    /// Tells a codec by the magic number at the start, where it has one.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Compresses. `level` is the codec's own scale, clamped to it; LZ4 has none.
    pub fn compress(self, raw: &[u8], level: i32) -> Result<Vec<u8>, CodecError> {
        let damaged = |source| CodecError::Damaged { codec: self.name(), source };
        match self {
            Self::None => Ok(raw.to_vec()),
            Self::Zstd => compress_zstd(raw, level),
            Self::Gzip => {
                let level = flate2::Compression::new(level.clamp(0, 9) as u32);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(raw).and_then(|()| encoder.finish()).map_err(damaged)
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(raw).map_err(damaged)?;
                encoder.finish().map_err(|error| damaged(io::Error::other(error)))
            }
            Self::Brotli => {
                let params = brotli::enc::BrotliEncoderParams { quality: level.clamp(0, 11), ..Default::default() };
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut &raw[..], &mut out, &params).map_err(damaged)?;
                Ok(out)
            }
        }
    }

    /// Decompresses at most `max_bytes`. `expected` is a hint (0: none) that is never trusted beyond `max_bytes`.
    pub fn decompress(self, bytes: &[u8], max_bytes: usize, expected: usize) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::None if bytes.len() > max_bytes => Err(CodecError::TooLarge { max_bytes }),
            Self::None => Ok(bytes.to_vec()),
            Self::Zstd => decompress_zstd(bytes, max_bytes, expected),
            Self::Gzip => self.drain(flate2::read::MultiGzDecoder::new(bytes), max_bytes, expected),
            Self::Lz4 => self.drain(lz4_flex::frame::FrameDecoder::new(bytes), max_bytes, expected),
            Self::Brotli => self.drain(brotli::Decompressor::new(bytes, 16 * 1024), max_bytes, expected),
        }
    }

    fn drain(self, reader: impl Read, max_bytes: usize, expected: usize) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(expected.min(max_bytes));
        // One byte beyond the limit tells "exactly the limit" from "more".
        reader
            .take(max_bytes as u64 + 1)
            .read_to_end(&mut out)
            .map_err(|source| CodecError::Damaged { codec: self.name(), source })?;
        if out.len() > max_bytes { Err(CodecError::TooLarge { max_bytes }) } else { Ok(out) }
    }
}

/// Largest zstd window accepted, as a power of two: 8 MiB, what every encoder level up to 19 uses. A larger one could make
/// the decoder allocate far more than the data is worth.
#[cfg(not(target_arch = "wasm32"))]
const MAX_WINDOW_LOG: u32 = 23;

#[cfg(not(target_arch = "wasm32"))]
fn compress_zstd(raw: &[u8], level: i32) -> Result<Vec<u8>, CodecError> {
    use std::cell::RefCell;
    thread_local! {
        // A context costs more to make than a small batch costs to compress.
        static CONTEXT: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    }
    let damaged = |source| CodecError::Damaged { codec: "zstd", source };
    CONTEXT.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((at, compressor)) if *at == level => compressor,
            _ => &mut slot.insert((level, zstd::bulk::Compressor::new(level).map_err(damaged)?)).1,
        };
        compressor.compress(raw).map_err(damaged)
    })
}

#[cfg(not(target_arch = "wasm32"))]
fn decompress_zstd(bytes: &[u8], max_bytes: usize, expected: usize) -> Result<Vec<u8>, CodecError> {
    let damaged = |source| CodecError::Damaged { codec: "zstd", source };
    // The quick way: one call into a buffer of the size that the sender told.
    if expected > 0 && expected <= max_bytes {
        use std::cell::RefCell;
        thread_local! {
            static CONTEXT: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
        }
        let quick = CONTEXT.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = zstd::bulk::Decompressor::new().ok();
            }
            slot.as_mut().and_then(|decompressor| decompressor.decompress(bytes, expected).ok())
        });
        if let Some(out) = quick {
            return Ok(out);
        }
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(damaged)?;
    Codec::Zstd.drain(decoder, max_bytes, expected)
}

#[cfg(target_arch = "wasm32")]
fn compress_zstd(_raw: &[u8], _level: i32) -> Result<Vec<u8>, CodecError> {
    Err(CodecError::Unsupported("zstd"))
}

#[cfg(target_arch = "wasm32")]
fn decompress_zstd(_bytes: &[u8], _max_bytes: usize, _expected: usize) -> Result<Vec<u8>, CodecError> {
    Err(CodecError::Unsupported("zstd"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::Brotli];

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = vec![b' '; 4 << 20];
        for codec in ALL {
            let small = codec.compress(&bomb, 1).unwrap();
            for hint in [0, 1 << 10, 1 << 20] {
                let error = codec.decompress(&small, 1 << 20, hint).unwrap_err();
                assert!(
                    matches!(error, CodecError::TooLarge { max_bytes } if max_bytes == 1 << 20),
                    "{codec:?}: {error}"
                );
            }
            assert_eq!(codec.decompress(&small, 4 << 20, 0).unwrap().len(), 4 << 20);
        }
    }

    #[test]
    fn cut_off_data_is_an_error() {
        for codec in ALL.into_iter().skip(1) {
            let small = codec.compress(&[7; 5000], 1).unwrap();
            assert!(codec.decompress(&small[..small.len() / 2], 1 << 20, 5000).is_err(), "{codec:?}");
        }
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out(raw: Vec<u8>, hint in 0_usize..5000) {
            for codec in ALL {
                let small = codec.compress(&raw, 1).unwrap();
                prop_assert_eq!(&codec.decompress(&small, raw.len(), hint).unwrap(), &raw);
                if let Some(told) = Codec::sniff(&small) && codec != Codec::None {
                    prop_assert_eq!(told, codec);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw: Vec<u8>, hint in 0_usize..5000) {
            for codec in ALL {
                let _ = codec.decompress(&raw, 4096, hint);
            }
        }
    }
}
