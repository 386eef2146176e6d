//! A published program, run as a process behind the recording proxy.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Process, Proxy, answers, eventually, executable::executable, patience, process::Spec, proxy::Observation,
};
use serde_json::Value;
use tempfile::TempDir;

/// How many messages the network passes.
pub const MESSAGES: usize = 1_000;

/// A program, and the record of all it sent.
pub struct Program {
    process: Process,
    proxy: Proxy,
    _folder: TempDir,
}

/// What a program sent, by the record.
pub struct Sent {
    /// The flow id that it called itself.
    pub flow_id: String,
    /// Every event, by its id, as it was sent.
    pub events: BTreeMap<String, Value>,
    /// How many of them came before the `StartTrace`.
    pub before_start: usize,
}

impl Program {
    /// Starts one that ends by itself.
    pub async fn start(server: &str) -> Result<Self> {
        Self::spawn(Proxy::before(server).await?, &[])
    }

    /// Starts one that stays connected when it is done.
    pub async fn start_and_stay(server: &str) -> Result<Self> {
        Self::spawn(Proxy::before(server).await?, &["stay"])
    }

    /// Starts one against nothing: what it sends is recorded and not answered.
    pub async fn start_alone() -> Result<Self> {
        Self::spawn(Proxy::alone().await?, &[])
    }

    fn spawn(proxy: Proxy, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let spec = Spec::new(executable("compat-program")?, folder.path())
            .args([proxy.url(), &MESSAGES.to_string()])
            .args(arguments);
        Ok(Self { process: Process::spawn(&spec)?, proxy, _folder: folder })
    }

    /// Waits for the program's end, and until the proxy has seen it too.
    pub async fn end(&mut self) -> Result<()> {
        let status = self.process.exit(patience()).await?;
        ensure!(status.success(), "the program ended with {status}\n{}", self.process.tail());
        eventually(patience(), || async {
            let gone = |what: &Observation| matches!(what, Observation::HungUp(_) | Observation::SaidGoodbye);
            ensure!(self.proxy.record().iter().any(|entry| gone(&entry.what)), "the program is still connected");
            Ok(())
        })
        .await
    }

    /// Waits until the program has passed its messages and the server has answered every frame.
    pub async fn all_answered(&self) -> Result<()> {
        eventually(patience(), || async {
            ensure!(self.process.log()?.contains("done"), "the program is not done");
            let (sent, answered) = (self.proxy.sent().len(), self.proxy.answers().len());
            ensure!(sent == answered, "{sent} frames sent, {answered} answered");
            Ok(())
        })
        .await
    }

    /// The recording proxy.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// What it sent so far.
    pub fn sent(&self) -> Result<Sent> {
        let frames = self.proxy.sent();
        let start = frames
            .iter()
            .position(|frame| frame.get("StartTrace").is_some())
            .context("the program never sent StartTrace")?;
        let flow_id = frames
            .get(start)
            .and_then(|frame| frame.pointer("/StartTrace/flow_id")?.as_str())
            .context("StartTrace has no flow id")?
            .to_owned();
        let all = self.proxy.sent_events();
        let events = answers::by_id(&all);
        ensure!(events.len() == all.len(), "the program itself sent an event id twice");
        Ok(Sent { flow_id, events, before_start: start })
    }

    /// The events among the frames that were answered. Answers come in the order of the frames.
    pub fn acknowledged(&self) -> BTreeMap<String, Value> {
        let answered = self.proxy.answers().len();
        let frames = self.proxy.sent().into_iter().take(answered);
        let events: Vec<_> = frames.filter_map(|frame| frame.pointer("/RecordEvent/event").cloned()).collect();
        answers::by_id(&events)
    }

    /// How many messages flowed along an edge, by the record.
    pub fn flows(&self, from: &str, to: &str) -> usize {
        let is_flow = |event: &&Value| {
            event["actor_id"] == from && event.pointer("/event_type/DataFlow/to_actor") == Some(&Value::from(to))
        };
        self.proxy.sent_events().iter().filter(is_flow).count()
    }
}
