//! Frames that are too large, not text, or not what their compression says.

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{Client, Ending, answers, events, frames};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::scene::{Scene, compress, record};

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_and_harms_nobody() -> Result<()> {
    let mut scene = Scene::start().await?;
    for text in [true, false] {
        let mut client = scene.service.connect().await?;
        let bytes = vec![b' '; 17 << 20];
        let message = if text { Message::text(String::from_utf8(bytes)?) } else { Message::binary(bytes) };
        // The server need not read to the end what it will not take.
        client.send(message).await.ok();
        match over_limit(&mut client).await? {
            Outcome::Refused(reason) => ensure!(reason.contains("16"), "the limit is not named: {reason}"),
            Outcome::Ended(Ending::Closed(Some((code, reason)))) => {
                ensure!(code == 1009 && !reason.is_empty(), "closed with {code} {reason:?}");
            }
            // A reset can overtake the goodbye: the client was still writing.
            Outcome::Ended(Ending::Broken(_)) => {}
            Outcome::Ended(Ending::Closed(None)) => bail!("closed without a reason"),
        }
        scene.go_on().await?;
    }
    scene.end().await
}

enum Outcome {
    Refused(String),
    Ended(Ending),
}

async fn over_limit(client: &mut Client) -> Result<Outcome> {
    Ok(match client.answer_or_ending().await? {
        Ok(answer) => Outcome::Refused(answers::refusal(&answer)?),
        Err(ending) => Outcome::Ended(ending),
    })
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_and_harms_nobody() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect().await?;
    let frame = Frame::message(vec![b'"', 0xff, 0xfe, b'"'], OpCode::Data(Data::Text), true);
    client.send(Message::Frame(frame)).await?;
    match over_limit(&mut client).await? {
        Outcome::Refused(_) | Outcome::Ended(Ending::Broken(_)) => {}
        // RFC 6455: 1007 is for data that is not what its type says.
        Outcome::Ended(Ending::Closed(Some((code, _)))) => assert_eq!(code, 1007),
        Outcome::Ended(Ending::Closed(None)) => bail!("closed without a reason"),
    }
    scene.go_on().await?;
    scene.end().await
}

#[tokio::test]
async fn a_compressed_request_is_a_request() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect().await?;
    client.send_binary(compress(frames::ping().to_string().as_bytes())?).await?;
    assert_eq!(client.recv_json().await?, "Pong", "v1 is answered in text");
    scene.go_on().await?;
    scene.end().await
}

#[tokio::test]
async fn compressed_frames_that_lie_are_refused() -> Result<()> {
    let mut scene = Scene::start().await?;
    let good = compress(frames::ping().to_string().as_bytes())?;
    let bomb = compress(&vec![b' '; 200 << 20])?;
    ensure!(bomb.len() < 1 << 20, "the bomb is too large to be one: {} bytes", bomb.len());
    let mut damaged = compress(record(&events::actor_created("a")).as_bytes())?;
    let middle = damaged.len() / 2;
    damaged.iter_mut().skip(middle).for_each(|byte| *byte ^= 0x5a);
    let inputs = [
        ("a bomb", bomb),
        ("truncated", good[..good.len() - 3].to_vec()),
        ("only a magic number", good[..4].to_vec()),
        ("damaged", damaged),
        ("nothing", vec![]),
        ("no codec", b"\x00\x01\x02\x03 what is this".to_vec()),
        ("gzip's magic and no more", vec![0x1f, 0x8b]),
        ("not utf-8 inside", compress(b"\"\xff\xfe\"")?),
    ];
    let mut client = scene.service.connect().await?;
    for (name, bytes) in inputs {
        client.send_binary(bytes).await.context(name)?;
        answers::refusal(&client.recv_json().await.context(name)?).context(name)?;
        assert_eq!(client.ask(&frames::ping()).await.context(name)?, "Pong", "{name}");
        scene.go_on().await.context(name)?;
    }
    scene.end().await
}
