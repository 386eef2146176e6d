//! Live viewers who ask for a status: what they see is of traces that had it as the event passed.
//!
//! Programs and viewers of both protocols, all at once: whoever ends a trace how, every viewer judges it the same.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Cluster, Service, answers, events, eventually,
    frames::{self, Batch},
    patience,
};
use serde_json::{Value, json};

use crate::system::{Standalone, get, record_under};

/// What a trace is called and how it ends.
const ENDS: [(&str, &str); 5] = [
    ("completed", r#""Completed""#),
    ("cancelled", r#""Cancelled""#),
    ("tired", r#"{"Failed": {"error": "tired"}}"#),
    ("broken", r#"{"Failed": {"error": "broken"}}"#),
    ("odd", r#"{"Failed": {"error": "nul \u0000 here"}}"#),
];

/// What a viewer asks for, whether it sees running traces, and of which traces it sees what comes behind their end.
const FILTERS: [(&str, bool, &[&str]); 10] = [
    (r#"["Running"]"#, true, &[]),
    (r#"["Completed"]"#, false, &["completed"]),
    (r#"["Cancelled"]"#, false, &["cancelled"]),
    (r#"[{"Failed": {"error": "tired"}}]"#, false, &["tired"]),
    (r#"[{"Failed": {"error": "nul \u0000 here"}}]"#, false, &["odd"]),
    (r#"[{"Failed": {"error": ""}}]"#, false, &["tired", "broken", "odd"]),
    (r#"[{"Failed": {"error": "another"}}]"#, false, &[]),
    (r#"["Running", "Completed", {"Failed": {"error": "broken"}}]"#, true, &["completed", "broken"]),
    ("[]", false, &[]),
    ("null", true, &["completed", "cancelled", "tired", "broken", "odd"]),
];

struct Viewer {
    client: Client,
    wanted: &'static str,
    running: bool,
    ended: &'static [&'static str],
}

impl Viewer {
    async fn all(service: &Service) -> Result<Vec<Self>> {
        let mut viewers = Vec::new();
        for (wanted, running, ended) in FILTERS {
            for mut client in [service.connect().await?, service.connect_v2().await?] {
                let filter = json!({"status_filter": serde_json::from_str::<Value>(wanted)?});
                let answer = client.ask(&frames::subscribe(&filter)).await?;
                ensure!(answer.get("Error").is_none(), "not subscribed: {answer}");
                viewers.push(Self { client, wanted, running, ended });
            }
        }
        Ok(viewers)
    }

    fn wants(&self, name: &str, ended: bool) -> bool {
        if ended { self.ended.contains(&name) } else { self.running }
    }

    async fn sees(&mut self, actor: &str) -> Result<()> {
        let shown = self.client.recv_json().await.with_context(|| format!("{}: no {actor}", self.wanted))?;
        let found = shown.pointer("/EventNotification/event/actor_id");
        ensure!(found == Some(&json!(actor)), "{}: {shown:.300} instead of {actor}", self.wanted);
        Ok(())
    }

    /// Twice: the answer to the first may overtake an event that has just arrived.
    async fn sees_no_more(&mut self) -> Result<()> {
        for _ in 0..2 {
            let answer = self.client.ask(&frames::ping()).await?;
            ensure!(answer == "Pong", "{}: {answer:.300} as well", self.wanted);
        }
        Ok(())
    }
}

/// One trace, recorded by a program of either protocol.
struct Program {
    client: Client,
    v2: bool,
    batch: Batch,
}

impl Program {
    async fn start(service: &Service, v2: bool) -> Result<Self> {
        let client = if v2 { service.connect_v2().await? } else { service.connect().await? };
        Ok(Self { client, v2, batch: Batch::new("statuses", vec![]) })
    }

    async fn record(&mut self, actor: &str) -> Result<()> {
        let event = events::actor_created(actor);
        if !self.v2 {
            return record_under(&mut self.client, &[self.batch.trace_id], &[event]).await;
        }
        self.batch = self.batch.next(vec![event]);
        let answer = self.client.ask(&self.batch.request()).await?;
        answers::batch_recorded(&answer, self.batch.batch_id).map(drop)
    }

    async fn end(&mut self, status: &str) -> Result<()> {
        let status = serde_json::from_str(status)?;
        answers::recorded(&self.client.ask(&frames::end_trace(self.batch.trace_id, &status)).await?)
    }
}

/// Records an event of a trace, which those see who want it, and nobody else.
async fn show(program: &mut Program, viewers: &mut [Viewer], name: &str, ended: bool) -> Result<()> {
    let when = if ended { "behind" } else { "before" };
    let actor = format!("{name} {when}");
    program.record(&actor).await?;
    for viewer in viewers.iter_mut().filter(|viewer| viewer.wants(name, ended)) {
        viewer.sees(&actor).await?;
    }
    // By now it has come to the others, too.
    for viewer in viewers {
        viewer.sees_no_more().await.with_context(|| actor.clone())?;
    }
    Ok(())
}

async fn each_status_is_shown_to_who_asks_for_it(ingest: &Service, shown_by: &Service) -> Result<()> {
    let mut viewers = Viewer::all(shown_by).await?;
    for (name, status) in ENDS {
        for v2 in [false, true] {
            let mut program = Program::start(ingest, v2).await?;
            show(&mut program, &mut viewers, name, false).await?;
            program.end(status).await?;
            show(&mut program, &mut viewers, name, true).await?;
            show(&mut program, &mut viewers, name, true).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_status_is_shown_to_who_asks_for_it_in_one_process() -> Result<()> {
    let system = Standalone::start().await?;
    each_status_is_shown_to_who_asks_for_it(&system.service, &system.service).await
}

#[tokio::test]
async fn each_status_is_shown_to_who_asks_for_it_by_collector_and_query_service() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    for shown_by in [&cluster.collectors[0], &cluster.collectors[1], &cluster.queries[0]] {
        each_status_is_shown_to_who_asks_for_it(&cluster.collectors[0], shown_by).await?;
    }
    Ok(())
}

/// Nobody watched the end: it is known from history.
#[tokio::test]
async fn an_end_from_before_the_viewer_came_counts() -> Result<()> {
    let cluster = Cluster::start().await?;
    let (ingest, query) = (&cluster.collectors[0], &cluster.queries[0]);
    for (name, status) in ENDS {
        let mut program = Program::start(ingest, true).await?;
        program.record("unseen").await?;
        program.end(status).await?;
        eventually(patience(), || async {
            let trace = get(query, program.batch.trace_id).await?.context("no such trace")?;
            // Stores and headers cannot hold a nul.
            let shown: Value = serde_json::from_str(&status.replace("\\u0000", "\u{2400}"))?;
            ensure!(trace["status"] == shown, "it is {}", trace["status"]);
            Ok(())
        })
        .await?;
        for shown_by in [ingest, query] {
            let mut viewers = Viewer::all(shown_by).await?;
            show(&mut program, &mut viewers, name, true).await?;
        }
    }
    Ok(())
}
