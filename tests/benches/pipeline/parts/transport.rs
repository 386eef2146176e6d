//! The parts that move bytes: a WebSocket on the loopback, the local bus, JetStream.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chrono::Utc;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_bus::{Bus, LocalBus, LocalOptions, NatsBus, NatsOptions, PullLimits};
use reflow_tracing_chunk::{Chunk, Origin};
use reflow_tracing_protocol::wire::Response;
use reflow_tracing_tests::NatsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{LOCAL, NATS_PUBLISH, NATS_PULL, SOCKET};
use crate::load::{BATCH_EVENTS, Load, again, now_us};
use crate::meter::{Meter, Rate};
use crate::options::Options;
use crate::report::Report;

/// Chunks or frames under way at a time.
const IN_FLIGHT: usize = 64;

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let batches = Load::new(2, Utc::now()).batches(50);
    let frames =
        batches.iter().map(|batch| batch.frame(batch.trace_id).map(Bytes::from)).collect::<Result<Vec<_>>>()?;
    let chunks = batches.iter().map(|batch| batch.chunk(Origin::V2Batch, now_us())).collect::<Result<Vec<_>>>()?;
    report.part(SOCKET, socket(&frames, options.part_time()).await?);

    let bus = LocalBus::try_new(LocalOptions::default()).await?;
    report.part(LOCAL, hop(&bus, &chunks, options.part_time()).await?);

    let server = NatsServer::start().await?;
    let bus = NatsBus::connect(NatsOptions::new(server.url())).await?;
    let messages = options.pick(20_000, 400);
    let meter = Meter::start(&[("nats", server.process())])?;
    publish(&bus, &chunks, messages).await?;
    report.part(NATS_PUBLISH, meter.stop((messages * BATCH_EVENTS) as u64)?.0);
    let meter = Meter::start(&[("nats", server.process())])?;
    pull(&bus, messages).await?;
    report.part(NATS_PULL, meter.stop((messages * BATCH_EVENTS) as u64)?.0);
    bus.close().await;
    Ok(())
}

/// Frames one way and answers the other, several under way.
async fn socket(frames: &[Bytes], time: Duration) -> Result<Rate> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        let answer =
            Response::BatchRecorded { batch_id: Uuid::nil(), accepted: 200, rejected: Vec::new(), durable: true };
        let answer = serde_json::to_string(&answer)?;
        while let Some(Ok(Message::Binary(_))) = socket.next().await {
            socket.send(Message::text(answer.clone())).await?;
        }
        anyhow::Ok(())
    });
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await?;
    let meter = Meter::start(&[])?;
    let started = std::time::Instant::now();
    let (mut sent, mut acked) = (0, 0);
    while started.elapsed() < time {
        while sent - acked < 16 {
            socket.feed(Message::Binary(frames[sent % frames.len()].clone())).await?;
            sent += 1;
        }
        socket.flush().await?;
        socket.next().await.context("the echo has ended")??;
        acked += 1;
    }
    let rate = meter.stop((acked * BATCH_EVENTS) as u64)?.0;
    drop(socket);
    // It ends with the connection, well or not.
    server.await?.ok();
    Ok(rate)
}

/// Publish on one side, pull and acknowledge on the other.
async fn hop(bus: &dyn Bus, chunks: &[Chunk], time: Duration) -> Result<Rate> {
    let per_round = 1_000;
    let meter = Meter::start(&[])?;
    let started = std::time::Instant::now();
    let mut events = 0;
    while started.elapsed() < time {
        tokio::try_join!(publish(bus, chunks, per_round), pull(bus, per_round))?;
        events += per_round * BATCH_EVENTS;
    }
    Ok(meter.stop(events as u64)?.0)
}

async fn publish(bus: &dyn Bus, chunks: &[Chunk], count: usize) -> Result<()> {
    let mut under_way = FuturesUnordered::new();
    for index in 0..count {
        if under_way.len() >= IN_FLIGHT {
            under_way.next().await.transpose()?;
        }
        under_way.push(bus.publish(again(&chunks[index % chunks.len()], Uuid::nil())));
    }
    while let Some(outcome) = under_way.next().await {
        outcome?;
    }
    Ok(())
}

async fn pull(bus: &dyn Bus, count: usize) -> Result<()> {
    let limits =
        PullLimits { max_messages: 500, max_bytes: 8 << 20, linger: Duration::ZERO, max_wait: Duration::from_secs(5) };
    let mut consumer = bus.consumer().await?;
    let mut pulled = 0;
    while pulled < count {
        let deliveries = consumer.pull(&limits).await?;
        ensure!(!deliveries.is_empty(), "{pulled} of {count} chunks came");
        pulled += deliveries.len();
        for delivery in deliveries {
            delivery.acker.ack().await?;
        }
    }
    Ok(())
}
