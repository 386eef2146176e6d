//! Answers of the server, and who waits for which.
//!
//! An answer that echoes a request id belongs to that question; one that does not (`Pong`, and everything the published server says)
//! belongs to the oldest question that such an answer can be to, since every server answers in order.
//!
//! With one exception: in v2, whose errors about a start or an end of a trace echo its id, an error without one is about a frame or the
//! session. It settles nothing that must arrive.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;
use web_time::Instant;

use super::TracingError;
use crate::FlowVersion;
use crate::wire::{Code, Limits, RejectedEvent, SamplingRule};

/// Any frame of a server, of any generation.
#[derive(Debug, Deserialize)]
pub(crate) enum Incoming {
    Welcome {
        limits: Limits,
    },
    Sampling {
        rules: Vec<SamplingRule>,
    },
    ReportMetrics,
    TraceStarted {
        request_id: Option<Box<RawValue>>,
    },
    EventRecorded {
        success: bool,
        error: Option<String>,
        retryable: Option<bool>,
        request_id: Option<Box<RawValue>>,
    },
    BatchRecorded {
        batch_id: Uuid,
        accepted: usize,
        rejected: Vec<RejectedEvent>,
    },
    BatchTooLarge {
        batch_id: Uuid,
        max: usize,
    },
    TraceData {
        trace: Option<Box<RawValue>>,
        request_id: Option<Box<RawValue>>,
    },
    QueryResults {
        traces: Vec<Box<RawValue>>,
        total_count: usize,
        next: Option<String>,
        request_id: Option<Box<RawValue>>,
    },
    TracesFound {
        traces: Vec<Box<RawValue>>,
    },
    FlowVersions {
        versions: Vec<FlowVersion>,
        request_id: Option<Box<RawValue>>,
    },
    Pong,
    Metrics {
        data: serde_json::Value,
    },
    Subscribed {},
    EventNotification {
        trace_id: Uuid,
        event: Box<RawValue>,
    },
    Lagged {
        missed: Option<u64>,
    },
    TraceStored {},
    Error {
        message: String,
        code: Option<Code>,
        retryable: Option<bool>,
        batch_id: Option<Uuid>,
        request_id: Option<Box<RawValue>>,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The answer to a single event (v1).
    Event,
    /// To `StartTrace`.
    Started,
    /// To `EndTrace`.
    Ended,
    Pong,
    Trace,
    Traces,
    Versions,
    Metrics,
    Subscribed,
}

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Something that must arrive, by its id.
    Outgoing(Uuid),
    /// A question, by its number.
    Question(u64),
    /// Nobody's: the driver only wants a sign of life.
    Nobody,
}

/// A question to the server.
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// The frame, the id in it where the request has room for it.
    pub(crate) request: String,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Incoming, TracingError>>,
    /// Asked on the connection that stands.
    pub(crate) asked: bool,
}

/// The answers that are due on one connection, in order.
#[derive(Debug)]
pub(crate) struct Due {
    order: VecDeque<(Kind, Whose)>,
    v2: bool,
}

/// The questions without an answer, asked or not.
#[derive(Default)]
pub(crate) struct Questions {
    open: HashMap<u64, Question>,
    /// The requests for subscriptions that a server has taken, oldest first: another connection knows nothing of them.
    subscriptions: Vec<String>,
}

/// As many as a server takes by default.
const MOST_SUBSCRIPTIONS: usize = 16;

impl Incoming {
    fn request_id(&self) -> Option<&str> {
        match self {
            Self::TraceStarted { request_id }
            | Self::EventRecorded { request_id, .. }
            | Self::TraceData { request_id, .. }
            | Self::QueryResults { request_id, .. }
            | Self::FlowVersions { request_id, .. }
            | Self::Error { request_id, .. } => request_id.as_deref().map(RawValue::get),
            _ => None,
        }
    }

    fn answers(&self, kind: Kind) -> bool {
        match self {
            Self::EventRecorded { .. } => matches!(kind, Kind::Event | Kind::Ended | Kind::Subscribed),
            Self::TraceStarted { .. } => kind == Kind::Started,
            Self::TraceData { .. } => kind == Kind::Trace,
            Self::QueryResults { .. } | Self::TracesFound { .. } => kind == Kind::Traces,
            Self::FlowVersions { .. } => kind == Kind::Versions,
            Self::Pong => kind == Kind::Pong,
            Self::Metrics { .. } => kind == Kind::Metrics,
            Self::Subscribed { .. } => kind == Kind::Subscribed,
            Self::Error { batch_id, .. } => batch_id.is_none(),
            _ => false,
        }
    }
}

impl Due {
    pub(crate) fn new(v2: bool) -> Self {
        Self { order: VecDeque::new(), v2 }
    }

    pub(crate) fn push(&mut self, kind: Kind, whose: Whose) {
        self.order.push_back((kind, whose));
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whose answer this is.
    pub(crate) fn take(&mut self, answer: &Incoming) -> Option<(Kind, Whose)> {
        let named = answer.request_id().and_then(|id| {
            self.order.iter().position(|(_, whose)| match whose {
                Whose::Outgoing(uuid) => id.trim_matches('"') == uuid.as_hyphenated().encode_lower(&mut [0; 36]),
                Whose::Question(number) => id == number.to_string(),
                Whose::Nobody => false,
            })
        });
        let next = || {
            let unnamed = self.v2 && matches!(answer, Incoming::Error { .. });
            let is_its = |whose: &Whose| !(unnamed && matches!(whose, Whose::Outgoing(_)));
            self.order.iter().position(|(kind, whose)| answer.answers(*kind) && is_its(whose))
        };
        let place = named.or_else(next)?;
        self.order.remove(place)
    }
}

impl Questions {
    pub(crate) fn add(&mut self, question: Question) {
        self.open.insert(question.id, question);
    }

    /// Those to be asked now; they count as asked.
    pub(crate) fn unasked(&mut self) -> Vec<(u64, Kind, String)> {
        let mut list: Vec<_> = self.open.values_mut().filter(|question| !question.asked).collect();
        list.sort_by_key(|question| question.id);
        list.into_iter()
            .map(|question| {
                question.asked = true;
                (question.id, question.kind, question.request.clone())
            })
            .collect()
    }

    /// The connection broke: all are asked again on the next.
    pub(crate) fn ask_again(&mut self) {
        self.open.values_mut().for_each(|question| question.asked = false);
    }

    /// Hands an answer over. Nobody may be waiting any more.
    pub(crate) fn answer(&mut self, id: u64, answer: Incoming) {
        if let Some(question) = self.open.remove(&id) {
            let answer = match answer {
                Incoming::Error { message, .. } => Err(TracingError::WebSocketError(message)),
                Incoming::EventRecorded { success: false, error, .. } => {
                    Err(TracingError::WebSocketError(error.unwrap_or_default()))
                }
                answer => Ok(answer),
            };
            if question.kind == Kind::Subscribed && answer.is_ok() {
                self.subscribed(question.request);
            }
            // The caller may have gone.
            let _ = question.reply.send(answer);
        }
    }

    fn subscribed(&mut self, request: String) {
        self.subscriptions.retain(|known| *known != request);
        if self.subscriptions.len() >= MOST_SUBSCRIPTIONS {
            self.subscriptions.remove(0);
        }
        self.subscriptions.push(request);
    }

    /// What a new connection is to be asked for.
    pub(crate) fn subscriptions(&self) -> &[String] {
        &self.subscriptions
    }

    /// Gives up those whose time is over; `connected` tells a server that does not answer from one that is not there.
    pub(crate) fn expire(&mut self, now: Instant, connected: bool) {
        let late: Vec<u64> = self.open.values().filter(|question| question.deadline <= now).map(|q| q.id).collect();
        for question in late.into_iter().filter_map(|id| self.open.remove(&id)) {
            let error = if connected { TracingError::Timeout } else { TracingError::Disconnected };
            let _ = question.reply.send(Err(error));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|question| question.deadline).min()
    }

    /// No answer will come any more.
    pub(crate) fn give_up(&mut self) {
        for (_, question) in self.open.drain() {
            let _ = question.reply.send(Err(TracingError::Disconnected));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(text: &str) -> Incoming {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn echoed_ids_go_first_and_order_decides_the_rest() {
        let mut due = Due::new(false);
        let started = Uuid::now_v7();
        due.push(Kind::Event, Whose::Outgoing(Uuid::nil()));
        due.push(Kind::Started, Whose::Outgoing(started));
        due.push(Kind::Trace, Whose::Question(1));
        due.push(Kind::Trace, Whose::Question(2));
        due.push(Kind::Pong, Whose::Nobody);
        let take = |due: &mut Due, text: &str| due.take(&incoming(text)).map(|(_, whose)| whose);
        assert_eq!(take(&mut due, r#"{"TraceData":{"trace":null,"request_id":2}}"#), Some(Whose::Question(2)));
        assert_eq!(take(&mut due, r#""Pong""#), Some(Whose::Nobody));
        assert_eq!(take(&mut due, r#"{"TraceData":{"trace":{"a":1}}}"#), Some(Whose::Question(1)));
        let echo = format!(r#"{{"TraceStarted":{{"trace_id":"{started}","request_id":"{started}"}}}}"#);
        assert_eq!(take(&mut due, &echo), Some(Whose::Outgoing(started)));
        assert_eq!(
            take(&mut due, r#"{"Error":{"message":"no","code":"NotFound"}}"#),
            Some(Whose::Outgoing(Uuid::nil()))
        );
        assert_eq!(take(&mut due, r#""Pong""#), None);
    }

    #[test]
    fn in_v2_an_error_without_an_id_settles_nothing_that_must_arrive() {
        let (ended, about_a_frame) = (Uuid::now_v7(), r#"{"Error":{"message":"too large","code":"LimitExceeded"}}"#);
        let due = |v2| {
            let mut due = Due::new(v2);
            due.push(Kind::Ended, Whose::Outgoing(ended));
            due
        };
        let take = |due: &mut Due, text: &str| due.take(&incoming(text)).map(|(_, whose)| whose);
        let mut v2 = due(true);
        assert_eq!(take(&mut v2, about_a_frame), None);
        // A frame that the server cannot read is answered so, and may have held the question.
        v2.push(Kind::Trace, Whose::Question(1));
        assert_eq!(take(&mut v2, about_a_frame), Some(Whose::Question(1)));
        let by_id = format!(r#"{{"Error":{{"message":"no","code":"InvalidRequest","request_id":"{ended}"}}}}"#);
        assert_eq!(take(&mut v2, &by_id), Some(Whose::Outgoing(ended)));
        // v1 has no ids.
        assert_eq!(take(&mut due(false), about_a_frame), Some(Whose::Outgoing(ended)));
    }

    #[test]
    fn both_generations_are_read() {
        for text in [
            r#"{"EventRecorded":{"success":true,"error":null}}"#,
            r#"{"QueryResults":{"traces":[],"total_count":0}}"#,
            r#"{"TracesFound":{"traces":[]}}"#,
            r#"{"TraceStored":{"trace_id":"018f0000-0000-7000-8000-000000000001"}}"#,
            r#"{"Error":{"message":"older"}}"#,
            r#"{"Metrics":{"data":{"a":1}}}"#,
        ] {
            incoming(text);
        }
    }
}
