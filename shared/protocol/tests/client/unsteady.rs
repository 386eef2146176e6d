//! Servers that let the client in, and nothing comes of it: they are asked as seldom as one that is not there.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_protocol::client::{RetryConfig, TracingClient, TracingConfig};
use reflow_tracing_protocol::wire::{BatchFrame, Code, Limits, Response};
use reflow_tracing_protocol::{ExecutionStatus, SUBPROTOCOL_V2, SubscriptionFilters};
use reflow_tracing_tests::{eventually, patience};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response as Handshake};
use uuid::Uuid;

use crate::scene::{config, event};

/// What a server does with whom it has let in.
#[derive(Clone, Copy, Debug)]
enum Manner {
    HangsUpAtOnce,
    HangsUpAfterItsGreeting,
    /// Batches are answered with an error after which they may be sent again.
    TakesNothingNow,
    /// The same, until so many connections were made; then everything.
    TakesNothingUntil(usize),
    /// Takes batches, and subscriptions, too, but hangs up after them.
    HangsUpOnSubscribers,
    /// To the first that ends a trace it complains of a frame, without saying of which, and hangs up.
    ComplainsOnce,
    /// On the first connection, traces cannot be ended right now.
    EndsNothingAtFirst,
}

/// When connections were made.
type Times = Arc<Mutex<Vec<Instant>>>;

/// Two servers of a manner, one url for both. They stop when their tasks are dropped.
async fn servers(manner: Manner, times: &Times) -> Result<(String, JoinSet<()>)> {
    let (mut urls, mut tasks) = (Vec::new(), JoinSet::new());
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        urls.push(format!("ws://{}", listener.local_addr()?));
        let times = Arc::clone(times);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let made = {
                    let mut times = times.lock().expect("nobody panics in here");
                    times.push(Instant::now());
                    times.len()
                };
                connections.spawn(async move { serve(stream, manner, made).await });
            }
        });
    }
    Ok((urls.join(","), tasks))
}

async fn serve(stream: TcpStream, manner: Manner, made: usize) -> Option<()> {
    #[expect(clippy::result_large_err, reason = "the library's callback is so")]
    fn v2(_: &Request, mut response: Handshake) -> Result<Handshake, ErrorResponse> {
        let name = SUBPROTOCOL_V2.parse().expect("a header's value");
        response.headers_mut().insert("Sec-WebSocket-Protocol", name);
        Ok(response)
    }
    let mut socket = accept_hdr_async(stream, v2).await.ok()?;
    if matches!(manner, Manner::HangsUpAtOnce) {
        return None;
    }
    let limits = Limits::default();
    socket.send(text(&Response::Welcome { limits })).await.ok()?;
    if matches!(manner, Manner::HangsUpAfterItsGreeting) {
        return None;
    }
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = &message {
            let (answer, last) = match manner {
                Manner::HangsUpOnSubscribers if text.contains("Subscribe") => {
                    (Message::text(r#"{"EventRecorded":{"success":true,"error":null}}"#), true)
                }
                _ => answer_to_end(text, manner, made)?,
            };
            socket.send(answer).await.ok()?;
            if last {
                return None;
            }
        }
        let Message::Binary(frame) = message else { continue };
        let batch_id = BatchFrame::decode(&frame).ok()?.header.batch_id;
        let answer = match manner {
            Manner::TakesNothingUntil(connections) if made <= connections => refusal(batch_id),
            Manner::TakesNothingNow => refusal(batch_id),
            _ => Response::BatchRecorded { batch_id, accepted: 1, rejected: Vec::new(), durable: true },
        };
        socket.send(text(&answer)).await.ok()?;
    }
    None
}

/// To the end of a trace, and whether it is the last word: on the first connection a complaint or a refusal, later an ack.
fn answer_to_end(request: &str, manner: Manner, made: usize) -> Option<(Message, bool)> {
    let request: serde_json::Value = serde_json::from_str(request).ok()?;
    let id = request.get("EndTrace")?.get("request_id")?.to_string();
    let request_id = Some(RawValue::from_string(id).ok()?);
    let refused = matches!(manner, Manner::EndsNothingAtFirst) && made == 1;
    if made == 1 && !refused {
        return Some((text(&complaint()), true));
    }
    let answer = Response::EventRecorded {
        success: !refused,
        error: refused.then(|| "the bus is full".to_owned()),
        code: refused.then_some(Code::Unavailable),
        retryable: refused.then_some(true),
        request_id,
    };
    Some((text(&answer), false))
}

fn refusal(batch_id: Uuid) -> Response {
    Response::Error {
        message: "the bus is full".to_owned(),
        code: Some(Code::Unavailable),
        retryable: Some(true),
        batch_id: Some(batch_id),
        request_id: None,
    }
}

fn complaint() -> Response {
    Response::Error {
        message: "a frame is over the limit".to_owned(),
        code: Some(Code::LimitExceeded),
        retryable: Some(false),
        batch_id: None,
        request_id: None,
    }
}

fn text(response: &Response) -> Message {
    Message::text(serde_json::to_string(response).expect("an answer is JSON"))
}

fn client(urls: &str) -> Result<TracingClient> {
    let retry_config = RetryConfig {
        initial_delay: Duration::from_millis(200),
        max_delay: Duration::from_secs(10),
        ..TracingConfig::default().retry_config
    };
    let client = TracingClient::new(TracingConfig { retry_config, ..config(urls) });
    client.record(&client.current_trace_id(), event(0))?;
    Ok(client)
}

/// Five rounds over two servers. The delays between the rounds are 200, 400, 800 and 1,600 ms, each shortened by a half at most.
async fn comes_back_as_the_schedule_says(manner: Manner) -> Result<()> {
    let times = Times::default();
    let (urls, _tasks) = servers(manner, &times).await?;
    let client = client(&urls)?;
    eight_more_take_their_time(&times, manner).await?;
    assert_eq!((client.metrics().events_acked, client.metrics().events_dropped()), (0, 0));
    Ok(())
}

async fn eight_more_take_their_time(times: &Times, manner: Manner) -> Result<()> {
    let times = eventually(patience(), || async {
        let times = times.lock().expect("nobody panics in here").clone();
        ensure!(times.len() > 8, "{} connections", times.len());
        Ok(times)
    })
    .await?;
    let took = times[8] - times[0];
    ensure!(took >= Duration::from_millis(1_500), "eight more connections within {took:?} to a server that {manner:?}");
    Ok(())
}

#[tokio::test]
async fn servers_that_hang_up_at_once_are_left_alone_for_longer_and_longer() -> Result<()> {
    comes_back_as_the_schedule_says(Manner::HangsUpAtOnce).await
}

#[tokio::test]
async fn servers_that_greet_and_hang_up_are_left_alone_for_longer_and_longer() -> Result<()> {
    comes_back_as_the_schedule_says(Manner::HangsUpAfterItsGreeting).await
}

#[tokio::test]
async fn servers_that_take_nothing_are_left_alone_for_longer_and_longer() -> Result<()> {
    comes_back_as_the_schedule_says(Manner::TakesNothingNow).await
}

#[tokio::test]
async fn live_events_of_servers_that_hang_up_on_them_are_asked_for_less_and_less_often() -> Result<()> {
    let times = Times::default();
    let (urls, _tasks) = servers(Manner::HangsUpOnSubscribers, &times).await?;
    let client = client(&urls)?;
    let filters = SubscriptionFilters { flow_ids: None, actor_ids: None, event_types: None, status_filter: None };
    let _events = client.events(filters).await?;
    // One of the connections is for what is recorded, and stays.
    eight_more_take_their_time(&times, Manner::HangsUpOnSubscribers).await?;
    client.flush_within(patience()).await?;
    assert_eq!((client.metrics().events_acked, client.metrics().connections), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_something_again_is_stayed_with() -> Result<()> {
    let times = Times::default();
    let (urls, _tasks) = servers(Manner::TakesNothingUntil(3), &times).await?;
    let client = client(&urls)?;
    client.flush_within(patience()).await?;
    for number in 1..100 {
        client.record(&client.current_trace_id(), event(number))?;
        client.flush_within(patience()).await?;
    }
    ensure!(client.is_connected() && client.last_error().is_none(), "{:?}", client.last_error());
    assert_eq!((client.metrics().connections, times.lock().expect("nobody panics in here").len()), (4, 4));
    Ok(())
}

/// Ends a trace at two servers of a manner: connections, requests lost and errors of servers by the time it is acked.
async fn ends_a_trace(manner: Manner) -> Result<(u64, u64, u64)> {
    let times = Times::default();
    let (urls, _tasks) = servers(manner, &times).await?;
    let client = client(&urls)?;
    client.flush_within(patience()).await?;
    client.end_trace(client.current_trace_id(), ExecutionStatus::Completed).await?;
    client.flush_within(patience()).await?;
    let metrics = client.metrics();
    Ok((metrics.connections, metrics.requests_lost, metrics.server_errors))
}

#[tokio::test]
async fn an_error_that_is_not_about_the_end_of_a_trace_does_not_settle_it() -> Result<()> {
    // Sent again after the complaint, and only then acked.
    assert_eq!(ends_a_trace(Manner::ComplainsOnce).await?, (2, 0, 1));
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_trace_that_is_refused_for_now_is_sent_to_another_server() -> Result<()> {
    assert_eq!(ends_a_trace(Manner::EndsNothingAtFirst).await?, (2, 0, 0));
    Ok(())
}
