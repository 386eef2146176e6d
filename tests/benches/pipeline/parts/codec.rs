//! The parts that are only computing: JSON, compression, index, envelope.

use anyhow::{Context, Result};
use bytes::Bytes;
use chrono::Utc;
use reflow_tracing_chunk::{Chunk, ChunkBuilder, Origin};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::BatchFrame;
use uuid::Uuid;

use super::{CLIENT, DECODE, ENCODE, INDEX, UNZSTD};
use crate::load::{BATCH_EVENTS, Load, now_us};
use crate::meter::repeat;
use crate::options::Options;
use crate::report::{Figure, Report};

/// Batches that take turns: more than the caches hold of them.
const BATCHES: usize = 50;

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let batches = Load::new(1, Utc::now()).batches(BATCHES);
    let (time, events) = (options.part_time(), (BATCHES * BATCH_EVENTS) as u64);

    report.part(
        CLIENT,
        repeat(time, events, || batches.iter().try_for_each(|batch| batch.frame(batch.trace_id).map(drop)))?,
    );

    let frames = batches.iter().map(|batch| batch.frame(batch.trace_id)).collect::<Result<Vec<_>>>()?;
    let packed = frames.iter().map(|frame| Ok(BatchFrame::decode(frame)?)).collect::<Result<Vec<_>>>()?;
    let unpack = |batch: &BatchFrame<'_>| {
        let size = batch.header.raw_size as usize;
        Codec::Zstd.decompress(batch.payload, size, size)
    };
    let texts = packed.iter().map(|batch| Ok(String::from_utf8(unpack(batch)?)?)).collect::<Result<Vec<_>>>()?;
    let raw: usize = texts.iter().map(String::len).sum();
    let small: usize = packed.iter().map(|batch| batch.payload.len()).sum();
    report.figure(Figure::new("JSON bytes an event", raw as f64 / events as f64, "bytes"));
    report.figure(Figure::new("bytes an event after zstd -1", small as f64 / events as f64, "bytes"));
    report.part(UNZSTD, repeat(time, events, || packed.iter().try_for_each(|batch| Ok(unpack(batch).map(drop)?)))?);

    let index = |text: &str| -> Result<ChunkBuilder> {
        let mut builder = ChunkBuilder::new(Uuid::now_v7(), Uuid::nil(), "default", now_us(), Origin::V2Batch);
        let refused = builder.push_array(text, 10_000)?;
        anyhow::ensure!(refused.is_empty(), "events were refused");
        Ok(builder)
    };
    let build = |text: &String| index(text).map(|builder| builder.build_around(Bytes::new(), Codec::Zstd, text.len()));
    report.part(INDEX, repeat(time, events, || texts.iter().try_for_each(|text| build(text).map(drop)))?);

    let chunks = batches.iter().map(|batch| batch.chunk(Origin::V2Batch, now_us())).collect::<Result<Vec<_>>>()?;
    report.part(
        ENCODE,
        repeat(time, events, || {
            chunks.iter().for_each(|chunk| drop(chunk.encode()));
            Ok(())
        })?,
    );
    let messages: Vec<Bytes> = chunks.iter().map(Chunk::encode).collect();
    let decode = |message: &Bytes| Chunk::decode(message.clone()).map(drop).context("a chunk does not decode");
    report.part(DECODE, repeat(time, events, || messages.iter().try_for_each(decode))?);
    Ok(())
}
