//! The service under test, and a bystander who uses it properly the whole time.

use std::any::Any;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, NatsServer, Postgres, Service, answers, events, eventually, frames, patience};
use serde_json::Value;
use uuid::Uuid;

/// Far above what the service needs, far below what a bomb would fill.
const MOST_MEMORY_BYTES: u64 = 400 << 20;

/// The service, and somebody who uses it properly meanwhile.
pub struct Scene {
    pub service: Service,
    bystander: Client,
    trace_id: Uuid,
    recorded: Vec<Value>,
    _behind: Box<dyn Any + Send>,
}

impl Scene {
    /// In one process, on SQLite.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
        Self::set(service, Box::new(folder)).await
    }

    /// Through a collector, NATS, a writer and a query service, on Postgres.
    pub async fn start_services() -> Result<Self> {
        let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
        let database = postgres.create_database("traces").await?;
        let writer = Service::writer().nats(&nats).postgres(&database).start().await?;
        let query = Service::query().nats(&nats).postgres(&database).start().await?;
        let collector = Service::collector().nats(&nats).start().await?;
        Self::set(collector, Box::new((writer, query, nats, postgres))).await
    }

    async fn set(service: Service, behind: Box<dyn Any + Send>) -> Result<Self> {
        let mut bystander = service.connect().await?;
        let trace_id = answers::started(&bystander.ask(&frames::start_trace("bystander")).await?)?;
        Ok(Self { service, bystander, trace_id, recorded: Vec::new(), _behind: behind })
    }

    /// The bystander goes on: one more event, acknowledged.
    pub async fn go_on(&mut self) -> Result<()> {
        let event = events::actor_completed("bystander");
        let answer = self.bystander.ask(&frames::record_event(self.trace_id, &event)).await;
        answers::recorded(&answer.context("the bystander was harmed")?)?;
        self.recorded.push(event);
        Ok(())
    }

    /// Nothing was lost, nothing was added, and it is still the process that was started.
    pub async fn end(mut self) -> Result<()> {
        self.go_on().await?;
        self.service.process_mut().expect_running()?;
        let peak = self.service.process().peak_resident_bytes()?;
        ensure!(peak < MOST_MEMORY_BYTES, "the service used {} MiB", peak >> 20);
        eventually(patience(), || async {
            let answer = self.service.connect().await?.ask(&frames::get_trace(self.trace_id)).await?;
            let stored = answers::events(answers::trace(&answer)?.context("the bystander's trace is gone")?)?;
            ensure!(stored == answers::by_id(&self.recorded), "the bystander's trace has changed");
            Ok(())
        })
        .await
    }

    /// Sends each text on one session, which must refuse it and go on.
    pub async fn refused(&mut self, texts: &[String]) -> Result<()> {
        let mut client = self.service.connect().await?;
        for text in texts {
            let what = || format!("{text:.200}");
            client.send_text(text.as_str()).await.with_context(what)?;
            answers::refusal(&client.recv_json().await.with_context(what)?).with_context(what)?;
            ensure!(client.ask(&frames::ping()).await.with_context(what)? == "Pong", "no pong after {text:.200}");
            self.go_on().await.with_context(what)?;
        }
        Ok(())
    }

    /// Records events on a session of their own, and reads them back as they were sent.
    pub async fn accepted(&mut self, flow_id: &str, sent: &[Value]) -> Result<()> {
        let mut client = self.service.connect().await?;
        let trace_id = answers::started(&client.ask(&frames::start_trace(flow_id)).await?)?;
        for event in sent {
            answers::recorded(&client.ask(&frames::record_event(trace_id, event)).await?)?;
        }
        eventually(patience(), || async {
            let answer = self.service.connect().await?.ask(&frames::get_trace(trace_id)).await?;
            let trace = answers::trace(&answer)?.context("no such trace")?;
            ensure!(answers::events(trace)? == answers::by_id(sent), "not as sent: {trace}");
            Ok(())
        })
        .await?;
        self.go_on().await
    }
}

pub fn record(event: &Value) -> String {
    frames::record_event(Uuid::new_v4(), event).to_string()
}

/// An event whose JSON has `from` replaced, for what a `Value` cannot hold.
pub fn altered(from: &str, to: &str) -> String {
    record(&events::actor_created("actor")).replacen(from, to, 1)
}

pub fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(zstd::encode_all(bytes, 1)?)
}
