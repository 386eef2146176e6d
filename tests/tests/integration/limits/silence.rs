//! Pings and `idle_timeout`: any sign of life keeps a session, no sign at all ends it, and who is kept from speaking is not silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Client, Ending, NatsServer, Service, ServiceBuilder, answers, events, frames, frames::Batch, patience,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{interval, timeout};

use super::{connect, ended, ensure_goodbye, seconds, sent_until_the_end};

const PING: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(2);
/// An empty ping, as a server sends it: unmasked.
const PING_FRAME: [u8; 2] = [0x89, 0];

fn impatient(service: ServiceBuilder) -> ServiceBuilder {
    service
        .env("REFLOW_TRACING_LIMITS__PING_INTERVAL_SECS", seconds(PING))
        .env("REFLOW_TRACING_LIMITS__IDLE_TIMEOUT_SECS", seconds(IDLE))
}

/// Sends and takes no answer, so that no ping is answered either. Never returns by itself.
async fn talk(client: &mut Client, sent: &mut usize) -> Result<()> {
    let mut pace = interval(IDLE / 8);
    loop {
        pace.tick().await;
        client.send_json(&frames::ping()).await?;
        *sent += 1;
    }
}

#[tokio::test]
async fn only_who_gives_no_sign_of_life_is_closed() -> Result<()> {
    let service = impatient(Service::standalone()).start().await?;
    for (round, v2) in [(1.0, false), (2.0, true)] {
        let (mut answering, mut talking) = (connect(&service, v2).await?, connect(&service, v2).await?);
        let mut sent = 0;
        let began = Instant::now();
        let silent = connect(&service, v2).await?.into_socket();
        let bytes = tokio::select! {
            bytes = sent_until_the_end(silent) => bytes?,
            // Reading answers pings, and nothing else is sent to it.
            answer = answering.recv() => bail!("the one who answers pings was sent {answer:?}"),
            ended = talk(&mut talking, &mut sent) => bail!("the one who talks was ended: {ended:?}"),
        };
        ensure!(began.elapsed() >= IDLE, "closed after {:?}", began.elapsed());
        ensure!(bytes.windows(2).any(|two| two == PING_FRAME), "closed without having been pinged");
        ensure_goodbye(&bytes, "idle_timeout")?;
        ended(&service, "idle", round).await?;

        for _ in 0..sent {
            assert_eq!(talking.recv_json().await?, "Pong");
        }
        assert_eq!(answering.ask(&frames::ping()).await?, "Pong");
        assert_eq!(answering.close().await?, Ending::Closed(None));
    }
    Ok(())
}

/// What a v1 program recorded stays a running trace: that the server gave it up says nothing about the program.
#[tokio::test]
async fn a_session_that_the_server_closed_leaves_no_mark_on_its_trace() -> Result<()> {
    let service = impatient(Service::standalone()).start().await?;
    let mut silent = service.connect().await?;
    let trace_id = crate::system::record(&mut silent, "silent", &events::program(3)).await?;
    sent_until_the_end(silent.into_socket()).await?;
    ended(&service, "idle", 1.0).await?;
    let trace = crate::system::trace_with(&service, trace_id, 3).await?;
    assert_eq!(trace["status"], "Running");
    Ok(())
}

/// The bus stands still, the session has all in flight that it may and reads no further: neither pongs nor anything else.
#[tokio::test]
async fn a_session_that_is_paused_is_not_idle() -> Result<()> {
    let nats = NatsServer::start().await?;
    let collector = impatient(Service::collector().nats(&nats))
        .env("REFLOW_TRACING_LIMITS__MAX_CHUNKS_IN_FLIGHT", "1")
        .start()
        .await?;
    let mut paused = collector.connect_v2().await?;
    nats.pause().await?;
    let mut batches = vec![Batch::new("paused", events::program(3))];
    for _ in 0..3 {
        let next = batches.last().context("no batch")?.next(events::program(3));
        batches.push(next);
    }
    for batch in &batches {
        paused.send_json(&batch.request()).await?;
    }
    // Two who may speak and do not, one after the other, are the clock.
    for round in [1.0, 2.0] {
        let silent = collector.connect().await?.into_socket();
        ensure_goodbye(&sent_until_the_end(silent).await?, "idle_timeout")?;
        ended(&collector, "idle", round).await?;
    }
    nats.resume()?;
    for batch in &batches {
        let answer = timeout(patience(), paused.recv_json()).await??;
        answers::batch_recorded(&answer, batch.batch_id)?;
    }
    assert_eq!(paused.ask(&frames::ping()).await?, "Pong");
    Ok(())
}

/// The first byte, which holds the opcode, of each whole frame that a server sent.
fn first_bytes(mut bytes: &[u8]) -> Vec<u8> {
    let mut first_bytes = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((told, payload)) = rest.split_at_checked(extended) else { break };
        let length = if extended == 0 {
            usize::from(*length)
        } else {
            told.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let Some(after) = payload.get(length..) else { break };
        first_bytes.push(*first);
        bytes = after;
    }
    first_bytes
}

const WHOLE_TEXT: u8 = 0x81;
const LAST_FRAGMENT: u8 = 0x80;
const PONG: u8 = 0x8a;

/// An answer that takes the peer far longer than `idle_timeout` to read: pings go both ways meanwhile, and afterwards it is no silent peer.
#[tokio::test]
async fn who_reads_a_long_answer_is_alive_and_is_pinged_and_answered_meanwhile() -> Result<()> {
    const EVENTS: usize = 300;
    const A_SECOND: usize = 4 << 20;
    let service = impatient(Service::standalone()).start().await?;
    let mut program = service.connect().await?;
    let events: Vec<_> = (0..EVENTS).map(|_| events::large(100_000)).collect();
    let trace_id = crate::system::record(&mut program, "long", &events).await?;
    crate::system::trace_with(&service, trace_id, EVENTS).await?;

    let mut reader = service.connect().await?;
    reader.send_json(&frames::get_trace(trace_id)).await?;
    let mut socket = reader.into_socket();
    let socket = socket.get_mut();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; A_SECOND / 16]);
    let mut pace = interval(Duration::from_secs(1) / 16);
    let began = Instant::now();
    let seen = loop {
        pace.tick().await;
        let count = timeout(patience(), socket.read(&mut buffer)).await.context("nothing comes")??;
        ensure!(count > 0, "the server ended the connection after {} bytes", bytes.len());
        if bytes.is_empty() {
            // RFC 6455, section 5.2: an empty ping, masked with zeros.
            socket.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await?;
        }
        bytes.extend_from_slice(&buffer[..count]);
        let seen = first_bytes(&bytes);
        if seen.contains(&LAST_FRAGMENT) {
            break seen;
        }
    };
    ensure!(began.elapsed() > 2 * IDLE, "read within {:?}", began.elapsed());
    let last = seen.iter().position(|first| *first == LAST_FRAGMENT);
    for control in [PING_FRAME[0], PONG] {
        let at = seen.iter().position(|first| *first == control);
        ensure!(at.is_some() && at < last, "{control:#x} comes at {at:?}, the end of the answer at {last:?}");
    }
    // A text frame `"Ping"`, masked with zeros.
    socket.write_all(b"\x81\x86\0\0\0\0\"Ping\"").await?;
    let answered = async {
        let mut after = Vec::new();
        while !first_bytes(&after).contains(&WHOLE_TEXT) {
            let count = socket.read(&mut buffer).await?;
            ensure!(count > 0, "the server ended the connection");
            after.extend_from_slice(&buffer[..count]);
        }
        ensure!(after.ends_with(b"\"Pong\""), "{:?}", String::from_utf8_lossy(&after));
        Ok(())
    };
    timeout(patience(), answered).await.context("no answer")?
}
