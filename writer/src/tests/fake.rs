//! A store and a bus that do what a test says, and remember in which order they were asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reflow_tracing_bus::*;
use reflow_tracing_chunk::{Chunk, ChunkBuilder, Origin};
use reflow_tracing_protocol::{TraceEvent, codec::Codec};
use reflow_tracing_store::*;
use tokio::sync::Notify;
use uuid::Uuid;

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Commit(usize),
    Failed,
    Ack(u64),
    Nak(u64),
    Progress(u64),
    DeadLetter(String),
    Terminate(u64),
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Step>>>, Arc<Notify>);

impl Log {
    pub fn push(&self, step: Step) {
        self.0.lock().unwrap().push(step);
        self.1.notify_waiters();
    }

    pub fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until the steps are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Step]) -> bool) -> Vec<Step> {
        let waiting = async {
            loop {
                let changed = self.1.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let steps = self.steps();
                if wanted(&steps) {
                    return steps;
                }
                changed.await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(3_600), waiting).await;
        done.unwrap_or_else(|_| panic!("never came: {:?}", self.steps()))
    }
}

/// What the store says to the next commits; afterwards it stores.
type Say = Box<dyn Fn(&[Chunk]) -> Option<StoreErrorKind> + Send + Sync>;

pub struct FakeStore {
    pub log: Log,
    pub say: Say,
    pub takes: Duration,
}

#[async_trait]
impl StoreWriter for FakeStore {
    async fn commit(&self, chunks: &[Chunk], _: i64) -> Result<CommitOutcome, StoreError> {
        tokio::time::sleep(self.takes).await;
        if let Some(kind) = (self.say)(chunks) {
            self.log.push(Step::Failed);
            return Err(StoreError::new(kind, "commit", "as the test says"));
        }
        self.log.push(Step::Commit(chunks.len()));
        Ok(CommitOutcome { stored: chunks.len(), ..CommitOutcome::default() })
    }

    async fn probe(&self, _: i64) -> Result<(), StoreError> {
        match (self.say)(&[]) {
            Some(kind) => Err(StoreError::new(kind, "probe", "as the test says")),
            None => Ok(()),
        }
    }

    async fn compact(&self, _: &CompactPolicy, _: i64) -> Result<CompactOutcome, StoreError> {
        Ok(CompactOutcome::default())
    }

    async fn retain(&self, _: &RetentionPolicy, _: i64) -> Result<RetentionOutcome, StoreError> {
        Ok(RetentionOutcome::default())
    }

    fn durable(&self) -> bool {
        true
    }
}

#[derive(Clone, Default)]
pub struct FakeBus {
    pub log: Log,
    queue: Arc<Mutex<VecDeque<(u64, u64, Bytes)>>>,
    arrived: Arc<Notify>,
    pub dead_letters_fail: bool,
    /// `lag` never answers.
    lag_hangs: bool,
}

impl FakeBus {
    pub fn that_hangs() -> Self {
        Self { lag_hangs: true, ..Self::default() }
    }

    pub fn send(&self, id: u64, message: Bytes) {
        self.queue.lock().unwrap().push_back((id, 1, message));
        self.arrived.notify_one();
    }

    pub fn waiting(&self) -> usize {
        self.queue.lock().unwrap().len()
    }
}

struct FakeAcker {
    bus: FakeBus,
    id: u64,
    attempt: u64,
    message: Bytes,
}

#[async_trait]
impl Acker for FakeAcker {
    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.bus.log.push(Step::Ack(self.id));
        Ok(())
    }

    async fn nak(self: Box<Self>, delay: Duration) -> Result<(), BusError> {
        self.bus.log.push(Step::Nak(self.id));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            self.bus.queue.lock().unwrap().push_back((self.id, self.attempt + 1, self.message.clone()));
            self.bus.arrived.notify_one();
        });
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        self.bus.log.push(Step::Progress(self.id));
        Ok(())
    }

    async fn terminate(self: Box<Self>, _: &str) -> Result<(), BusError> {
        self.bus.log.push(Step::Terminate(self.id));
        Ok(())
    }
}

#[async_trait]
impl Consumer for FakeBus {
    async fn pull(&mut self, limits: &PullLimits) -> Result<Vec<Delivery>, BusError> {
        let until = tokio::time::Instant::now() + limits.max_wait;
        let deliver = |(id, attempt, message): (u64, u64, Bytes)| {
            let acker = FakeAcker { bus: self.clone(), id, attempt, message: message.clone() };
            Delivery { message, attempt, traceparent: None, acker: Box::new(acker) }
        };
        loop {
            {
                let mut queue = self.queue.lock().unwrap();
                if !queue.is_empty() {
                    let count = queue.len().min(limits.max_messages);
                    return Ok(queue.drain(..count).map(deliver).collect());
                }
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = tokio::time::sleep_until(until) => return Ok(Vec::new()),
            }
        }
    }
}

#[async_trait]
impl Bus for FakeBus {
    async fn publish(&self, _: Chunk) -> Result<(), BusError> {
        Ok(())
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(self.clone()))
    }

    async fn tail(&self, _: TailFilter) -> Result<Tail, BusError> {
        Err(BusError::new(BusErrorKind::Closed, "tail", "none here"))
    }

    async fn dead_letter(&self, _: Bytes, reason: &str) -> Result<(), BusError> {
        if self.dead_letters_fail {
            return Err(BusError::new(BusErrorKind::Full, "dead letter", "full"));
        }
        self.log.push(Step::DeadLetter(reason.split(':').next().unwrap().to_owned()));
        Ok(())
    }

    async fn dead_letters(&self, _: usize) -> Result<Vec<DeadLetter>, BusError> {
        Ok(Vec::new())
    }

    async fn lag(&self) -> Result<Lag, BusError> {
        if self.lag_hangs {
            return std::future::pending().await;
        }
        Err(BusError::new(BusErrorKind::Unavailable, "lag", "away"))
    }

    fn commits_before_ack(&self) -> bool {
        true
    }

    fn stats(&self) -> &BusStats {
        unreachable!("the writer does not ask")
    }

    async fn close(&self) {}
}

/// An encoded chunk with one event of this actor.
pub fn message(actor: &str) -> Bytes {
    let mut builder = ChunkBuilder::new(Uuid::now_v7(), Uuid::new_v4(), "default", 0, Origin::V2Batch);
    let event = serde_json::to_string(&TraceEvent::actor_created(actor.to_owned())).unwrap();
    builder.push_event(&event).unwrap();
    builder.build(Codec::Zstd, 1).unwrap().encode()
}

/// An encoded chunk that only says that a trace began.
pub fn mark() -> Bytes {
    let mut builder = ChunkBuilder::new(Uuid::now_v7(), Uuid::new_v4(), "default", 0, Origin::V2Batch);
    builder.header_mut().started_us = Some(1);
    builder.build(Codec::Zstd, 1).unwrap().encode()
}

/// Whether a chunk of this actor is among them.
pub fn holds(chunks: &[Chunk], actor: &str) -> bool {
    chunks.iter().any(|chunk| chunk.header.actors.iter().any(|found| found.actor == actor))
}
