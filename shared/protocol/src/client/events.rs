//! Live events: a stream over a connection of its own.
//!
//! Of its own, so that a slow consumer holds up nothing else: while the stream is not read, neither is its connection, and the server
//! counts what it could not send and says so ([`LiveEvent::Lagged`]). A lost connection is made again; what happened meanwhile is
//! missed, and told as such. It is made again later and later, until it was worth something (an event came, or it held for longer than any delay):
//! a server that lets us in and hangs up is asked as seldom as one that is not there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use url::Url;
use web_time::Instant;

use super::answers::Incoming;
use super::driver::{dial, read_frame};
use super::metrics::Counters;
use super::parse::event_of;
use super::shared::Shared;
use super::transport::{Frame, Link, sleep};
use super::{Result, TracingError};
use crate::{SubscriptionFilters, TraceEvent, TraceId};

/// Events that may wait between the connection and the consumer.
const WAITING: usize = 256;

/// What a stream of live events gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are events")]
pub enum LiveEvent {
    /// Something happened.
    Event {
        /// In this trace.
        trace_id: TraceId,
        /// What.
        event: TraceEvent,
    },
    /// Events were missed: the consumer was too slow, or the connection was lost.
    Lagged {
        /// How many; `None` when nobody knows.
        missed: Option<u64>,
    },
}

/// Live events; ends only when the client is shut down. Dropping it ends the subscription.
#[derive(Debug)]
pub struct EventStream {
    receiver: mpsc::Receiver<LiveEvent>,
}

impl Stream for EventStream {
    type Item = LiveEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LiveEvent>> {
        self.receiver.poll_recv(cx)
    }
}

impl EventStream {
    /// The next event, for those who want no [`Stream`] trait.
    pub async fn recv(&mut self) -> Option<LiveEvent> {
        self.receiver.recv().await
    }
}

/// A stream to open.
pub(crate) struct Opening {
    pub(crate) filters: SubscriptionFilters,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<EventStream>>,
}

/// Serves one stream until its consumer goes.
pub(crate) async fn serve(shared: Arc<Shared>, urls: Vec<Url>, opening: Opening) {
    let Opening { filters, since, deadline, reply } = opening;
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut first = Some((reply, EventStream { receiver }));
    let mut attempt = 0;
    loop {
        let url = urls[attempt % urls.len()].clone();
        let asked = since.filter(|_| first.is_some());
        let error = match open(&shared, url, &filters, asked).await {
            Ok(mut link) => {
                let mut gap = false;
                match first.take() {
                    Some((reply, stream)) => {
                        if reply.send(Ok(stream)).is_err() {
                            return;
                        }
                    }
                    None => gap = true,
                }
                let (opened, mut proven) = (Instant::now(), false);
                match forward(&shared, &mut link, &sender, gap, &mut proven).await {
                    Some(error) => {
                        if proven || opened.elapsed() >= shared.config.retry_config.max_delay {
                            attempt = 0;
                        }
                        error
                    }
                    None => {
                        // Nobody listens any more: a close frame, if it goes quickly.
                        let closing =
                            select(Box::pin(link.close()), Box::pin(sleep(std::time::Duration::from_secs(1))));
                        closing.await;
                        return;
                    }
                }
            }
            Err(Refusal::Final(message)) => {
                if let Some((reply, _)) = first.take() {
                    let _ = reply.send(Err(TracingError::WebSocketError(message)));
                } else {
                    tracing::warn!(error = message, "live events ended: the server takes the subscription no more");
                }
                return;
            }
            Err(Refusal::Connection(message)) => message,
        };
        if first.is_some() && Instant::now() >= deadline {
            if let Some((reply, _)) = first.take() {
                let _ = reply.send(Err(TracingError::ConnectionFailed(error)));
            }
            return;
        }
        tracing::debug!(error, attempt, "no connection for live events");
        let delay = shared.config.retry_config.delay(attempt / urls.len(), fastrand::f64());
        // The last attempt comes no later than the deadline.
        let delay = if first.is_some() { delay.min(deadline.saturating_duration_since(Instant::now())) } else { delay };
        let slept = select(Box::pin(sender.closed()), Box::pin(sleep(delay))).await;
        if first.is_none() && matches!(slept, Either::Left(_)) {
            return;
        }
        attempt += 1;
    }
}

enum Refusal {
    Connection(String),
    Final(String),
}

/// Connects and subscribes.
async fn open(
    shared: &Shared,
    url: Url,
    filters: &SubscriptionFilters,
    since: Option<DateTime<Utc>>,
) -> std::result::Result<Link, Refusal> {
    let connection = |error: &dyn std::fmt::Display| Refusal::Connection(error.to_string());
    let (mut link, _) = dial(url, shared.settings.token.clone()).await.map_err(|error| connection(&error))?;
    let mut body = json!({ "filters": filters });
    if let Some(since) = since {
        body["since"] = json!(since);
    }
    let request = json!({ "Subscribe": body }).to_string();
    link.send(Frame::Text(request)).await.map_err(|error| connection(&error))?;
    let wait = async {
        loop {
            match link.next().await {
                None => return Err(Refusal::Connection("the server closed the connection".to_owned())),
                Some(Err(error)) => return Err(connection(&error)),
                Some(Ok(frame)) => match read_frame(&frame) {
                    Ok(Incoming::Subscribed { .. } | Incoming::EventRecorded { success: true, .. }) => return Ok(()),
                    Ok(Incoming::EventRecorded { error, .. }) => return Err(Refusal::Final(error.unwrap_or_default())),
                    Ok(Incoming::Error { message, retryable: Some(true), .. }) => {
                        return Err(Refusal::Connection(message));
                    }
                    Ok(Incoming::Error { message, .. }) => return Err(Refusal::Final(message)),
                    Ok(_) | Err(_) => {}
                },
            }
        }
    };
    let answered = select(Box::pin(wait), Box::pin(sleep(shared.settings.answer_timeout))).await;
    match answered {
        Either::Left((outcome, _)) => outcome?,
        Either::Right(_) => return Err(Refusal::Connection("the server did not answer the subscription".to_owned())),
    }
    Ok(link)
}

/// Forwards until the connection breaks (`Some`) or nobody listens (`None`). `proven` tells whether something has come.
async fn forward(
    shared: &Shared,
    link: &mut Link,
    sender: &mpsc::Sender<LiveEvent>,
    gap: bool,
    proven: &mut bool,
) -> Option<String> {
    if gap && sender.send(LiveEvent::Lagged { missed: None }).await.is_err() {
        return None;
    }
    loop {
        let frame = match select(Box::pin(sender.closed()), link.next()).await {
            Either::Left(_) => return None,
            Either::Right((None, _)) => return Some("the server closed the connection".to_owned()),
            Either::Right((Some(Err(error)), _)) => return Some(error.to_string()),
            Either::Right((Some(Ok(frame)), _)) => frame,
        };
        let item = match read_frame(&frame) {
            Ok(Incoming::EventNotification { trace_id, event }) => match event_of(event.get()) {
                Ok(event) => {
                    Counters::add(&shared.counters.live_events, 1);
                    LiveEvent::Event { trace_id: TraceId(trace_id), event }
                }
                Err(error) => {
                    Counters::add(&shared.counters.unreadable_frames, 1);
                    tracing::warn!(%error, "a live event cannot be read");
                    LiveEvent::Lagged { missed: Some(1) }
                }
            },
            Ok(Incoming::Lagged { missed }) => LiveEvent::Lagged { missed },
            // How v1 tells it.
            Ok(Incoming::Error { message, .. }) if message.starts_with("missed ") => {
                LiveEvent::Lagged { missed: message.split(' ').nth(1).and_then(|count| count.parse().ok()) }
            }
            Ok(Incoming::Error { message, .. }) => return Some(message),
            Ok(_) => continue,
            Err(error) => {
                Counters::add(&shared.counters.unreadable_frames, 1);
                tracing::warn!(%error, "a frame of live events cannot be read");
                continue;
            }
        };
        *proven = true;
        if let LiveEvent::Lagged { missed } = item {
            Counters::add(&shared.counters.live_missed, missed.unwrap_or(1));
        }
        if sender.send(item).await.is_err() {
            return None;
        }
    }
}
