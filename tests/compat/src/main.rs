//! A Reflow program as people write them, built from the published crates: three actors, a message passed from one to the
//! next, tracing switched on in the network's configuration, and nothing else about tracing.
//!
//! `compat-program <ws url> <messages> [stay]` passes so many messages, prints `done` and exits, or stays connected until
//! it is killed. It is an executable of its own because real programs are: two of them share nothing, and each ends with
//! its process, without a close frame.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use reflow_actor::{Actor, ActorBehavior, ActorContext, Port, message::Message};
use reflow_network::{
    connector::{ConnectionPoint, Connector, InitialPacket},
    network::{Network, NetworkConfig},
    tracing::TracingConfig,
};
use tokio::sync::Notify;

/// The pace of the generator. At full speed everything would be over within the 100 ms that the published client lets
/// pass between its connection and its `StartTrace`; at this pace there are events before it and after it.
const PACE: Duration = Duration::from_millis(1);

/// Messages that may wait at a port.
const WAITING: usize = 64;

/// What an actor does with one message.
type Step = Arc<dyn Fn(ActorContext) -> StepFuture + Send + Sync>;
type StepFuture = std::pin::Pin<Box<dyn Future<Output = Result<HashMap<String, Message>>> + Send>>;

/// An actor with one in-port, one out-port and one thing to do.
struct Simple {
    step: Step,
    inports: Port,
    outports: Port,
}

impl Simple {
    fn new(step: Step) -> Self {
        Self { step, inports: flume::bounded(WAITING), outports: flume::bounded(WAITING) }
    }
}

impl Actor for Simple {
    fn get_behavior(&self) -> ActorBehavior {
        let step = Arc::clone(&self.step);
        Box::new(move |context| step(context))
    }

    fn get_outports(&self) -> Port {
        self.outports.clone()
    }

    fn get_inports(&self) -> Port {
        self.inports.clone()
    }

    fn inport_names(&self) -> Vec<String> {
        vec!["in".to_owned()]
    }

    fn outport_names(&self) -> Vec<String> {
        vec!["out".to_owned()]
    }

    fn create_instance(&self) -> Arc<dyn Actor> {
        Arc::new(Self::new(Arc::clone(&self.step)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server_url = arguments.next().context("usage: compat-program <ws url> <messages>")?;
    let messages: usize = arguments.next().context("how many messages?")?.parse()?;
    let stay = arguments.next().is_some_and(|argument| argument == "stay");

    let tracing = TracingConfig { server_url, enabled: true, ..TracingConfig::default() };
    let mut network = Network::new(NetworkConfig { tracing, ..NetworkConfig::default() });
    let done = Arc::new(Notify::new());
    for (name, step) in [
        ("generator", generator(messages)),
        ("transformer", transformer()),
        ("sink", sink(messages, Arc::clone(&done))),
    ] {
        network.register_actor(name, Simple::new(step))?;
        network.add_node(name, name, None)?;
    }
    network.add_connection(Connector { from: at("generator", "out"), to: at("transformer", "in") });
    network.add_connection(Connector { from: at("transformer", "out"), to: at("sink", "in") });
    let go = ConnectionPoint { initial_data: Some(Message::Flow), ..at("generator", "in") };
    network.add_initial(InitialPacket { to: go });

    network.start()?;
    done.notified().await;
    println!("done");
    if stay {
        std::future::pending::<()>().await;
    }
    // The last events are still on their way to the socket, and the published client has no way to wait for them.
    tokio::time::sleep(Duration::from_millis(200)).await;
    network.shutdown();
    Ok(())
}

fn at(actor: &str, port: &str) -> ConnectionPoint {
    ConnectionPoint { actor: actor.to_owned(), port: port.to_owned(), ..ConnectionPoint::default() }
}

fn generator(messages: usize) -> Step {
    Arc::new(move |context| {
        Box::pin(async move {
            let out = context.get_outports().0;
            let mut pace = tokio::time::interval(PACE);
            for number in 0..messages {
                pace.tick().await;
                let message = Message::String(Arc::new(format!("message {number}")));
                out.send_async(HashMap::from([("out".to_owned(), message)])).await?;
            }
            Ok(HashMap::new())
        })
    })
}

fn transformer() -> Step {
    Arc::new(|context| {
        Box::pin(async move {
            let text = match context.get_payload().get("in") {
                Some(Message::String(text)) => text.to_uppercase(),
                other => anyhow::bail!("not a text: {other:?}"),
            };
            Ok(HashMap::from([("out".to_owned(), Message::String(Arc::new(text)))]))
        })
    })
}

fn sink(messages: usize, done: Arc<Notify>) -> Step {
    let received = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Arc::new(move |_| {
        let count = 1 + received.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if count == messages {
            done.notify_one();
        }
        Box::pin(async { Ok(HashMap::new()) })
    })
}
