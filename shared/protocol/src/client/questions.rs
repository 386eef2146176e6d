//! What the client asks its server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use web_time::Instant;

use super::answers::{Incoming, Kind, Question};
use super::events::{EventStream, Opening};
use super::handle::TracingClient;
use super::mailbox::Command;
use super::parse::{TraceDetails, TracePage, details_of, summary_of};
use super::{Result, TracingError};
use crate::{FlowId, FlowTrace, FlowVersion, SubscriptionFilters, TraceId, TraceQuery};

/// Traces fetched at once where a server lists traces without their events.
const FETCH_AT_ONCE: usize = 8;

impl TracingClient {
    /// Asks for a sign of life and waits for it.
    ///
    /// # Errors
    /// [`TracingError::Disconnected`] without a connection, [`TracingError::Timeout`] without an answer in time.
    pub async fn ping(&self) -> Result<()> {
        self.ping_within(self.shared.settings.answer_timeout).await.map(|_| ())
    }

    /// Asks for a sign of life and gives the time it took.
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub async fn ping_within(&self, timeout: Duration) -> Result<Duration> {
        if !self.is_enabled() {
            return Ok(Duration::ZERO);
        }
        let asked = Instant::now();
        self.ask_within(Kind::Pong, json!("Ping"), timeout).await?;
        Ok(asked.elapsed())
    }

    /// Finds traces, newest start first, whole. Without a `limit`, 100. [`find_traces`](Self::find_traces) is quicker where the
    /// events are not needed.
    ///
    /// # Errors
    /// As [`ping`](Self::ping); [`TracingError::WebSocketError`] with the server's reason when it refuses.
    pub async fn query_traces(&self, query: TraceQuery) -> Result<Vec<FlowTrace>> {
        if !self.is_enabled() {
            return Ok(Vec::new());
        }
        let (raw, ..) = self.list(query, None).await?;
        let traces: Vec<Option<FlowTrace>> = futures_util::stream::iter(raw)
            .map(|raw| async move {
                match details_of(raw.get())? {
                    Some(trace) => Ok(Some(trace.into())),
                    // Retention may take a trace between the list and its fetch.
                    None => self.get_trace(summary_of(raw.get())?.trace_id).await,
                }
            })
            .buffered(FETCH_AT_ONCE)
            .try_collect()
            .await?;
        Ok(traces.into_iter().flatten().collect())
    }

    /// Finds traces, newest start first, without their events. `after` is `next` of the page before.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn find_traces(&self, query: TraceQuery, after: Option<&str>) -> Result<TracePage> {
        if !self.is_enabled() {
            return Ok(TracePage { traces: Vec::new(), total: 0, next: None });
        }
        let (raw, total, next) = self.list(query, after).await?;
        let traces = raw.iter().map(|raw| summary_of(raw.get())).collect::<Result<_>>()?;
        Ok(TracePage { traces, total, next })
    }

    /// A trace with its events; `None` if there is none.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn get_trace(&self, trace_id: TraceId) -> Result<Option<FlowTrace>> {
        Ok(self.get_trace_details(trace_id).await?.map(FlowTrace::from))
    }

    /// A trace with its events and what the server counted of it: what of it is missing, and why.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn get_trace_details(&self, trace_id: TraceId) -> Result<Option<TraceDetails>> {
        if !self.is_enabled() {
            return Ok(None);
        }
        match self.ask(Kind::Trace, json!({"GetTrace": {"trace_id": trace_id}})).await? {
            Incoming::TraceData { trace: None, .. } => Ok(None),
            Incoming::TraceData { trace: Some(trace), .. } => details_of(trace.get()),
            other => Err(unexpected(&other)),
        }
    }

    /// The versions under which a flow ran, newest first. `flow` is a flow id or a flow name.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn get_flow_versions(&self, flow: FlowId) -> Result<Vec<FlowVersion>> {
        if !self.is_enabled() {
            return Ok(Vec::new());
        }
        match self.ask(Kind::Versions, json!({"GetFlowVersions": {"flow_id": flow}})).await? {
            Incoming::FlowVersions { versions, .. } => Ok(versions),
            other => Err(unexpected(&other)),
        }
    }

    /// The server's own figures.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn server_metrics(&self) -> Result<Value> {
        if !self.is_enabled() {
            return Ok(Value::Null);
        }
        match self.ask(Kind::Metrics, json!("GetMetrics")).await? {
            Incoming::Metrics { data } => Ok(data),
            other => Err(unexpected(&other)),
        }
    }

    /// Subscribes on the client's own connection, and again on each that replaces it, until a shutdown. As in the published client the events go to the log (`tracing`, level debug);
    /// [`events`](Self::events) gives them to the program.
    ///
    /// # Errors
    /// As [`query_traces`](Self::query_traces).
    pub async fn subscribe(&self, filters: SubscriptionFilters) -> Result<()> {
        if !self.is_enabled() {
            return Ok(());
        }
        self.ask(Kind::Subscribed, json!({"Subscribe": {"filters": filters}})).await.map(|_| ())
    }

    /// Events as they happen, of any program.
    ///
    /// # Errors
    /// [`TracingError::ConnectionFailed`] without a connection in time; [`TracingError::WebSocketError`] when the server refuses.
    pub async fn events(&self, filters: SubscriptionFilters) -> Result<EventStream> {
        self.open_events(filters, None).await
    }

    /// The same, first what the store has from this event time on. Needs protocol v2; a v1 server begins with what happens next.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub async fn events_since(&self, filters: SubscriptionFilters, since: DateTime<Utc>) -> Result<EventStream> {
        self.open_events(filters, Some(since)).await
    }

    async fn open_events(&self, filters: SubscriptionFilters, since: Option<DateTime<Utc>>) -> Result<EventStream> {
        if !self.is_enabled() {
            return Err(TracingError::Disconnected);
        }
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.shared.settings.answer_timeout.min(Duration::from_secs(86_400));
        self.command(Command::Open(Opening { filters, since, deadline, reply }))?;
        answer.await.unwrap_or(Err(TracingError::Disconnected))
    }

    async fn list(
        &self,
        query: TraceQuery,
        after: Option<&str>,
    ) -> Result<(Vec<Box<serde_json::value::RawValue>>, u64, Option<String>)> {
        let mut body = json!({ "query": query });
        if let Some(after) = after {
            body["after"] = json!(after);
        }
        match self.ask(Kind::Traces, json!({ "QueryTraces": body })).await? {
            Incoming::QueryResults { traces, total_count, next, .. } => Ok((traces, total_count as u64, next)),
            // The older generation of v1 tells no total.
            Incoming::TracesFound { traces } => {
                let total = traces.len() as u64;
                Ok((traces, total, None))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, kind: Kind, request: Value) -> Result<Incoming> {
        self.ask_within(kind, request, self.shared.settings.answer_timeout).await
    }

    async fn ask_within(&self, kind: Kind, mut request: Value, timeout: Duration) -> Result<Incoming> {
        let id = self.shared.next_request();
        // Requests that are bare strings have no room for an id; `Subscribe` has a name of its own.
        if kind != Kind::Subscribed
            && let Some(body) = request.as_object_mut().and_then(|object| object.values_mut().next())
        {
            body["request_id"] = json!(id);
        }
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timeout.min(Duration::from_secs(86_400));
        let request = request.to_string();
        self.command(Command::Ask(Question { id, kind, request, deadline, reply, asked: false }))?;
        answer.await.unwrap_or(Err(TracingError::Disconnected))
    }
}

fn unexpected(answer: &Incoming) -> TracingError {
    TracingError::WebSocketError(format!("the server gave another answer than was asked for: {answer:.200?}"))
}
