//! The actor around a stage: takes a message, works, sends on, and records all of it.
//!
//! A run that fails is tried again: after a pause that doubles each time, the actor gives the order back to itself. Meanwhile it
//! works on others. After [`ATTEMPTS`] attempts the order leaves through `given_up`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use reflow_actor::{Actor, ActorBehavior, ActorContext, MemoryState, Port, message::Message};
use reflow_tracing_protocol::client::{Capture, Content};
use reflow_tracing_protocol::{MessageSnapshot, StateDiff, StateDiffType, TraceEventType};
use serde_json::json;
use tokio::sync::mpsc::Sender;

use super::order::{Cause, Envelope, Order};
use super::recorder::{Details, Recorder, Run};
use super::stages::{ATTEMPTS, CONNECTIONS, Outputs, Stage, State};

/// The pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(5);
/// Orders that may wait at a port, and ends that may wait for the program.
pub const WAITING: usize = 64;

/// What all actors of a pipeline share.
pub struct Shared {
    /// Records.
    pub recorder: Recorder,
    /// The seed.
    pub seed: u64,
    /// Told of every order that has come to an end.
    pub ended: Sender<Ended>,
}

/// How an order came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Charged.
    Paid,
    /// Given up.
    GivenUp,
}

/// An actor of the pipeline.
pub struct StageActor {
    name: &'static str,
    stage: Stage,
    shared: Arc<Shared>,
    inports: Port,
    outports: Port,
}

impl StageActor {
    /// Makes one.
    pub fn new(name: &'static str, stage: Stage, shared: Arc<Shared>) -> Self {
        Self { name, stage, shared, inports: flume::bounded(WAITING), outports: flume::bounded(WAITING) }
    }
}

impl Actor for StageActor {
    fn get_behavior(&self) -> ActorBehavior {
        let worker = Worker {
            name: self.name,
            stage: self.stage,
            shared: Arc::clone(&self.shared),
            inports: self.inports.clone(),
            outports: self.outports.clone(),
        };
        let worker = Arc::new(worker);
        Box::new(move |context| {
            let worker = Arc::clone(&worker);
            Box::pin(async move {
                worker.run(context).await?;
                Ok(HashMap::new())
            })
        })
    }

    fn get_inports(&self) -> Port {
        self.inports.clone()
    }

    fn get_outports(&self) -> Port {
        self.outports.clone()
    }

    fn inport_names(&self) -> Vec<String> {
        let ports = CONNECTIONS.iter().filter(|(_, _, to, _)| *to == self.name).map(|(.., port)| (*port).to_owned());
        if matches!(self.stage, Stage::Source(_)) { vec!["start".to_owned()] } else { ports.collect() }
    }

    fn outport_names(&self) -> Vec<String> {
        let mut ports: Vec<String> = CONNECTIONS
            .iter()
            .filter(|(from, ..)| *from == self.name)
            .map(|(_, port, ..)| (*port).to_owned())
            .collect();
        ports.dedup();
        ports
    }

    fn create_instance(&self) -> Arc<dyn Actor> {
        Arc::new(Self::new(self.name, self.stage, Arc::clone(&self.shared)))
    }
}

struct Worker {
    name: &'static str,
    stage: Stage,
    shared: Arc<Shared>,
    inports: Port,
    outports: Port,
}

impl Worker {
    async fn run(&self, context: ActorContext) -> Result<()> {
        for (port, message) in context.get_payload() {
            let envelope = match message {
                Message::Flow => Envelope { order: Order::default(), failures: 0, cause: Cause::default() },
                // A network passes every packet of an actor along all its connections; where the packet has nothing for a
                // connection's port, this arrives.
                Message::Optional(None) => continue,
                message => Envelope::from_message(message)?,
            };
            self.handle(&context, port, envelope).await?;
        }
        Ok(())
    }

    async fn handle(&self, context: &ActorContext, port: &str, envelope: Envelope) -> Result<()> {
        let recorder = &self.shared.recorder;
        let run = recorder.begin(self.name, self.inports.1.len());
        let received =
            Details { port: Some(port.to_owned()), message: Some(snapshot(&envelope.order)?), ..Details::default() };
        let cause = recorder.record(&run, TraceEventType::MessageReceived, received, &envelope.cause);

        tokio::time::sleep(self.stage.takes(self.shared.seed, &envelope.order)).await;
        let (before, outcome, after) = self.work(context, &envelope);
        if before != after {
            let diff = StateDiff { before: Some(bytes(&before)), after: bytes(&after), diff_type: StateDiffType::Full };
            let changed = Details { state_diff: Some(diff), ..Details::default() };
            recorder.record(&run, TraceEventType::StateChanged, changed, &cause);
        }
        match outcome {
            Ok(outputs) => {
                let attributes = vec![("attempt", json!(envelope.failures + 1))];
                let completed = Details { attributes, ..Details::default() };
                recorder.record(&run, TraceEventType::ActorCompleted, completed, &cause);
                self.send(&run, outputs, &cause).await?;
            }
            Err(error) => self.failed(&run, envelope, error, &cause).await?,
        }
        match self.stage {
            Stage::Ledger => self.ended(Ended::Paid).await,
            Stage::DeadLetters => self.ended(Ended::GivenUp).await,
            _ => {}
        }
        Ok(())
    }

    /// Works on the actor's own state and gives it before and after.
    fn work(&self, context: &ActorContext, envelope: &Envelope) -> (State, Result<Outputs, String>, State) {
        let state = context.get_state();
        let mut state = state.lock();
        let mut values: State = match state.as_any().downcast_ref::<MemoryState>() {
            Some(memory) => memory.0.clone().into_iter().collect(),
            None => State::new(),
        };
        let before = values.clone();
        let outcome = self.stage.work(self.shared.seed, &mut values, envelope.order.clone(), envelope.failures);
        if let Some(memory) = state.as_mut_any().downcast_mut::<MemoryState>() {
            memory.0 = values.clone().into_iter().collect();
        }
        (before, outcome, values)
    }

    async fn send(&self, run: &Run, outputs: Outputs, cause: &Cause) -> Result<()> {
        for (port, order) in outputs {
            // Each order is a story of its own from the moment it is made.
            let cause = match self.stage {
                Stage::Source(_) => Cause { span: format!("order-{}", order.number), ..cause.clone() },
                _ => cause.clone(),
            };
            let message = snapshot(&order)?;
            let sent = Details { port: Some(port.to_owned()), message: Some(message.clone()), ..Details::default() };
            let cause = self.shared.recorder.record(run, TraceEventType::MessageSent, sent, &cause);
            for (_, _, to_actor, to_port) in
                CONNECTIONS.iter().filter(|(from, out, ..)| (*from, *out) == (self.name, port))
            {
                let flow =
                    TraceEventType::DataFlow { to_actor: (*to_actor).to_owned(), to_port: (*to_port).to_owned() };
                let details =
                    Details { port: Some(port.to_owned()), message: Some(message.clone()), ..Details::default() };
                self.shared.recorder.record(run, flow, details, &cause);
            }
            let message = Envelope { order, failures: 0, cause }.into_message()?;
            self.outports.0.send_async(HashMap::from([(port.to_owned(), message)])).await?;
        }
        Ok(())
    }

    async fn failed(&self, run: &Run, envelope: Envelope, error: String, cause: &Cause) -> Result<()> {
        let failures = envelope.failures + 1;
        let again = failures < ATTEMPTS;
        let attributes = vec![("attempt", json!(failures)), ("will_retry", json!(again))];
        let failed = Details { error: Some(error), attributes, ..Details::default() };
        let cause = self.shared.recorder.record(run, TraceEventType::ActorFailed, failed, cause);
        if !again {
            return self.send(run, vec![("given_up", envelope.order)], &cause).await;
        }
        let message = Envelope { failures, cause, ..envelope }.into_message()?;
        let (inport, pause) = (self.inports.0.clone(), PAUSE * 2_u32.pow(failures - 1));
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // The actor is gone when the program ends first.
            let _ = inport.send_async(HashMap::from([("in".to_owned(), message)])).await;
        });
        Ok(())
    }

    async fn ended(&self, how: Ended) {
        // Nobody listens any more once the program is at its end.
        let _ = self.shared.ended.send(how).await;
    }
}

/// The client measures the content: its size, and its checksum as Reflow defines it.
fn snapshot(order: &Order) -> Result<MessageSnapshot> {
    Ok(Content::of(order)?.snapshot("Order", Capture::Off))
}

fn bytes(state: &State) -> Vec<u8> {
    serde_json::to_vec(state).unwrap_or_default()
}
