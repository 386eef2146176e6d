//! Reads traces back over v1, as a published viewer would: requests and answers are the published types.
//!
//! Every answer is kept as JSON too. A published type forgives nothing that is missing, but it drops what it does not
//! know; comparing the JSON shows that as well.

use anyhow::{Context, Result, bail};
use reflow_tracing_protocol::{
    FlowId, FlowTrace, SubscriptionFilters, TraceId, TraceQuery, TracingRequest, TracingResponse,
};
use reflow_tracing_tests::{Client, events};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A viewer's connection.
pub struct Reader {
    client: Client,
}

/// A live viewer, collecting since it subscribed.
pub struct Viewer {
    seen: JoinHandle<Result<Vec<(TraceId, String)>>>,
    done: tokio::sync::oneshot::Sender<()>,
}

impl Reader {
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self { client: Client::connect(url).await? })
    }

    /// Asks, and gives the answer as its JSON and as its published type.
    async fn ask(&mut self, request: &TracingRequest) -> Result<(Value, TracingResponse)> {
        let answer = self.client.ask(&serde_json::to_value(request)?).await?;
        let typed = serde_json::from_value(answer.clone())
            .with_context(|| format!("the published types cannot read the answer: {answer:.500}"))?;
        Ok((answer, typed))
    }

    /// The traces of a flow id, and their true number.
    pub async fn traces_of(&mut self, flow_id: &str) -> Result<(Vec<FlowTrace>, usize)> {
        let query = TraceQuery {
            flow_id: Some(FlowId::new(flow_id)),
            execution_id: None,
            time_range: None,
            status: None,
            actor_filter: None,
            limit: None,
            offset: None,
        };
        match self.ask(&TracingRequest::QueryTraces { query }).await? {
            (_, TracingResponse::QueryResults { traces, total_count }) => Ok((traces, total_count)),
            (answer, _) => bail!("not an answer to QueryTraces: {answer:.500}"),
        }
    }

    /// One trace, as JSON and as the published type.
    pub async fn trace(&mut self, trace_id: &TraceId) -> Result<(Value, FlowTrace)> {
        match self.ask(&TracingRequest::GetTrace { trace_id: trace_id.clone() }).await? {
            (answer, TracingResponse::TraceData { trace: Some(trace) }) => Ok((answer, trace)),
            (answer, _) => bail!("no trace {trace_id}: {answer:.500}"),
        }
    }
}

impl Viewer {
    /// Subscribes to everything; returns when the server has confirmed it.
    pub async fn subscribe(url: &str) -> Result<Self> {
        let mut reader = Reader::connect(url).await?;
        let filters = SubscriptionFilters { flow_ids: None, actor_ids: None, event_types: None, status_filter: None };
        match reader.ask(&TracingRequest::Subscribe { filters }).await? {
            (_, TracingResponse::EventRecorded { success: true, .. }) => {}
            (answer, _) => bail!("not subscribed: {answer}"),
        }
        let (done, stop) = tokio::sync::oneshot::channel();
        Ok(Self { seen: tokio::spawn(collect(reader.client, stop)), done })
    }

    /// What it saw: trace ids and event ids, in order. Nothing that was sent to it before this call is missed.
    pub async fn finish(self) -> Result<Vec<(TraceId, String)>> {
        self.done.send(()).ok();
        self.seen.await.context("the viewer has died")?
    }
}

async fn collect(mut client: Client, mut stop: tokio::sync::oneshot::Receiver<()>) -> Result<Vec<(TraceId, String)>> {
    let mut seen = Vec::new();
    let mut finishing = false;
    loop {
        let answer = tokio::select! {
            answer = client.recv_json_within(std::time::Duration::from_secs(3600)) => answer?.context("nothing came")?,
            _ = &mut stop, if !finishing => {
                // Answers come in order: what was on its way to us is here before the pong.
                finishing = true;
                client.send_json(&serde_json::to_value(TracingRequest::Ping)?).await?;
                continue;
            }
        };
        let id = answer.pointer("/EventNotification/event").map(|event| events::id(event).to_owned());
        let typed = serde_json::from_value::<TracingResponse>(answer.clone())
            .with_context(|| format!("the published types cannot read {answer:.500}"))?;
        match (typed, id) {
            (TracingResponse::EventNotification { trace_id, .. }, Some(id)) => seen.push((trace_id, id)),
            (TracingResponse::Pong, _) if finishing => return Ok(seen),
            _ => bail!("not a notification: {answer:.500}"),
        }
    }
}
