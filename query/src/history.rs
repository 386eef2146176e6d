//! Answers questions to history: renders the whole response frame, in the words of the session that asked.
//!
//! Guarantee: every question that can be read gets a frame, a refusal included; an error of the stream means that there is no
//! answer and that asking again may help. What is answered is what the store held when the question came, or newer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reflow_tracing_bus::{AnswerStream, BusError, BusErrorKind, HistoryHandler};
use reflow_tracing_protocol::FlowVersion;
use reflow_tracing_protocol::wire::Response;
use reflow_tracing_service::{spans, work_span};
use reflow_tracing_session::{Ask, Dialect, Question};
use reflow_tracing_store::{StoreReader, TraceHead};
use tokio::sync::Semaphore;
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use crate::answer::Answer;
use crate::events::{Load, LoadError, TooLarge};
use crate::head::{flow_version, open_head};
use crate::list::{Listing, request_id};
use crate::metrics::{Outcome, QueryMetrics};
use crate::refusal::Refusal;
use crate::room::{LARGE_ANSWERS, Room};
use crate::since;

/// What a [`HistoryService`] goes by.
#[derive(Clone, Debug)]
pub struct HistoryOptions {
    /// How long a trace may be silent before it counts as ended.
    pub trace_idle: Duration,
    /// The time, µs since the epoch.
    pub clock: fn() -> i64,
}

/// Answers questions from a store.
pub struct HistoryService {
    reader: Arc<dyn StoreReader>,
    options: HistoryOptions,
    metrics: QueryMetrics,
    large: Arc<Semaphore>,
}

impl HistoryService {
    /// Answers from `reader`.
    pub fn new(reader: Arc<dyn StoreReader>, options: HistoryOptions, metrics: QueryMetrics) -> Self {
        Self { reader, options, metrics, large: Arc::new(Semaphore::new(LARGE_ANSWERS)) }
    }

    async fn frame(&self, question: &Question) -> Result<Answer, Refusal> {
        let mut room = Room::new(self.large.clone());
        let mut answer = match &question.ask {
            Ask::GetTrace { trace_id } => self.trace(question, *trace_id, &mut room).await?,
            Ask::QueryTraces { query, after } => {
                let listing = Listing {
                    reader: &*self.reader,
                    question,
                    trace_idle_us: micros(self.options.trace_idle),
                    now_us: (self.options.clock)(),
                };
                listing.answer(query, after.as_deref(), &mut room).await?
            }
            Ask::GetFlowVersions { flow_id } => self.flow_versions(question, flow_id).await?,
            Ask::Statuses { trace_ids } => {
                let heads = self.heads(question, trace_ids).await?;
                json(&heads.map(|head| (head.trace_id, head.status.status)).collect::<Vec<_>>())?
            }
            Ask::Flows { trace_ids } => {
                let heads = self.heads(question, trace_ids).await?;
                json(
                    &heads.filter_map(|head| Some((head.trace_id, head.flow_id?, head.flow_name?))).collect::<Vec<_>>(),
                )?
            }
            Ask::Chunks { .. } => return Err(Refusal::invalid("chunks are not a frame")),
        };
        answer.hold(room.into_permit());
        Ok(answer)
    }

    async fn trace(&self, question: &Question, trace_id: Uuid, room: &mut Room) -> Result<Answer, Refusal> {
        let (now_us, max) = ((self.options.clock)(), question.max_answer_bytes);
        let v1 = question.dialect != Dialect::V2;
        let Some(summary) = self.reader.find_trace(&question.tenant, trace_id, now_us).await? else {
            if question.dialect == Dialect::V1Older {
                return Err(Refusal::not_found(format!("there is no trace {trace_id}")));
            }
            let frame = format!(r#"{{"TraceData":{{"trace":null{}}}}}"#, request_id(question));
            return Ok(Bytes::from(frame).into());
        };
        let load = Load { reader: &*self.reader, v1, max_bytes: max, now_us };
        let (summary, events) = match load.trace(summary, room).await {
            Ok(loaded) => loaded,
            Err(LoadError::Refused(refusal)) => return Err(refusal),
            Err(LoadError::TooLarge(TooLarge { about_bytes })) => {
                return Err(trace_too_large(trace_id, about_bytes, max, v1));
            }
        };
        let head = open_head(&summary, v1).map_err(|error| Refusal::damaged("the trace's summary", &error))?;
        let mut answer = Answer::default();
        answer.text(format!(r#"{{"TraceData":{{"trace":{head},"events":["#));
        answer.events(events);
        answer.text(format!("]}}{}}}}}", request_id(question)));
        if answer.bytes() > max {
            return Err(trace_too_large(trace_id, answer.bytes() as u64, max, v1));
        }
        Ok(answer)
    }

    async fn flow_versions(&self, question: &Question, flow: &str) -> Result<Answer, Refusal> {
        let rows = self.reader.flow_versions(&question.tenant, flow).await?;
        let versions: Vec<FlowVersion> = rows.iter().map(|row| flow_version(&row.version)).collect();
        json(&Response::FlowVersions { versions, request_id: question.request_id.clone() })
    }

    async fn heads(
        &self,
        question: &Question,
        ids: &[Uuid],
    ) -> Result<impl Iterator<Item = TraceHead> + use<>, Refusal> {
        Ok(self.reader.heads(&question.tenant, ids, (self.options.clock)()).await?.into_iter())
    }
}

#[async_trait]
impl HistoryHandler for HistoryService {
    async fn answer(&self, question: Bytes) -> Result<AnswerStream, BusError> {
        let question: Question = serde_json::from_slice(&question).map_err(|error| {
            BusError::new(BusErrorKind::Refused, "answer question", format!("question cannot be read: {error}"))
        })?;
        let running = self.metrics.running();
        let (began, kind) = (Instant::now(), question.ask.kind());
        let span = work_span!("answer", otel.kind = "server", reflow.question = kind, reflow.bytes = Empty);
        spans::continues(&span, question.traceparent.as_deref());
        if let Ask::Chunks { since_us } = question.ask {
            self.metrics.answered(kind, Outcome::Answered, began.elapsed());
            spans::ended(&span, Outcome::Answered.label(), false);
            let chunks = since::chunks(
                self.reader.clone(),
                question.tenant,
                since_us,
                (self.options.clock)(),
                self.metrics.clone(),
            );
            return Ok(chunks.inspect(move |_| _ = &running).boxed());
        }
        let (answer, outcome) = match self.frame(&question).instrument(span.clone()).await {
            Ok(answer) => (Ok(answer), Outcome::Answered),
            Err(refusal) => {
                let outcome = if refusal.is_clients_fault() { Outcome::Refused } else { Outcome::Failed };
                (self.refuse(&question, &refusal), outcome)
            }
        };
        self.metrics.answered(kind, outcome, began.elapsed());
        spans::ended(&span, outcome.label(), outcome == Outcome::Failed);
        let answer = answer?;
        self.metrics.bytes(answer.bytes());
        span.record("reflow.bytes", answer.bytes() as i64);
        // The gauge falls when the last piece has left or the asker has gone.
        let pieces = answer.map(move |piece| {
            let _running = &running;
            Ok(piece)
        });
        Ok(stream::iter(pieces).boxed())
    }
}

impl HistoryService {
    /// A frame where the asker expects one; the others read no frames.
    fn refuse(&self, question: &Question, refusal: &Refusal) -> Result<Answer, BusError> {
        match question.ask {
            Ask::Statuses { .. } | Ask::Flows { .. } | Ask::Chunks { .. } => Err(refusal.clone().into_bus()),
            _ => Ok(refusal.frame(question).into()),
        }
    }
}

/// The time, µs since the epoch, by the system's clock.
pub fn system_clock() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn json(value: &impl serde::Serialize) -> Result<Answer, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|error| Refusal::internal(&error))?;
    Ok(Bytes::from(bytes).into())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn trace_too_large(trace_id: Uuid, about_bytes: u64, max: usize, v1: bool) -> Refusal {
    let through = if v1 { "a v2 session can " } else { "" };
    Refusal::too_large(format!(
        "trace {trace_id} is about {about_bytes} bytes and an answer holds at most {max}: {through}subscribe with `since` and \
         filters of actors and event types, which sends the events one by one"
    ))
}
