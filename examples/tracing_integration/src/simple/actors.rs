//! The two actors, as anybody would write them: nothing in them knows of tracing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use reflow_actor::{Actor, ActorBehavior, Port, message::Message};
use tokio::sync::mpsc::Sender;

/// Messages that may wait at a port, or for the program: whoever is quicker than the next then waits for it.
pub const WAITING: usize = 64;

/// On any message, sends `count` numbered messages through `out`, `delay` apart, as long as the program listens.
pub struct Generator {
    count: u64,
    delay: Duration,
    sent: Arc<AtomicU64>,
    report: Sender<Processed>,
    inports: Port,
    outports: Port,
}

/// Counts the letters of each message and reports them to the program.
pub struct Processor {
    report: Sender<Processed>,
    inports: Port,
    outports: Port,
}

/// What the processor made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// The message.
    pub text: String,
    /// Its letters.
    pub letters: usize,
}

impl Generator {
    /// Makes one, which counts in `sent` what it sends, and ends early when nobody takes reports any more.
    pub fn new(count: u64, delay: Duration, sent: Arc<AtomicU64>, report: Sender<Processed>) -> Self {
        let (inports, outports) = (flume::bounded(WAITING), flume::bounded(WAITING));
        Self { count, delay, sent, report, inports, outports }
    }
}

impl Processor {
    /// Makes one.
    pub fn new(report: Sender<Processed>) -> Self {
        Self { report, inports: flume::bounded(WAITING), outports: flume::bounded(WAITING) }
    }
}

impl Actor for Generator {
    fn get_behavior(&self) -> ActorBehavior {
        let (count, delay) = (self.count, self.delay);
        let (sent, report) = (Arc::clone(&self.sent), self.report.clone());
        Box::new(move |context| {
            let (sent, report) = (Arc::clone(&sent), report.clone());
            Box::pin(async move {
                let out = context.get_outports().0;
                for number in 1..=count {
                    let text = Message::String(Arc::new(format!("message {number}")));
                    sent.fetch_add(1, Ordering::Relaxed);
                    out.send_async(HashMap::from([("out".to_owned(), text)])).await?;
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = report.closed() => break,
                    }
                }
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
        vec!["start".to_owned()]
    }

    fn outport_names(&self) -> Vec<String> {
        vec!["out".to_owned()]
    }

    fn create_instance(&self) -> Arc<dyn Actor> {
        Arc::new(Self::new(self.count, self.delay, Arc::clone(&self.sent), self.report.clone()))
    }
}

impl Actor for Processor {
    fn get_behavior(&self) -> ActorBehavior {
        let report = self.report.clone();
        Box::new(move |context| {
            let (processed, report) = (process(context.get_payload().get("in")), report.clone());
            Box::pin(async move {
                // A program that no longer listens is on its way out.
                let _ = report.send(processed?).await;
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
        vec!["in".to_owned()]
    }

    fn create_instance(&self) -> Arc<dyn Actor> {
        Arc::new(Self::new(self.report.clone()))
    }
}

fn process(message: Option<&Message>) -> Result<Processed> {
    match message {
        Some(Message::String(text)) => {
            Ok(Processed { letters: text.chars().filter(|c| c.is_alphabetic()).count(), text: text.to_string() })
        }
        other => anyhow::bail!("not a text: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_and_other_messages_refused() {
        let text = Message::String(Arc::new("message 12".to_owned()));
        assert_eq!(process(Some(&text)).unwrap(), Processed { text: "message 12".into(), letters: 7 });
        assert!(process(Some(&Message::Integer(1))).is_err());
        assert!(process(None).is_err());
    }
}
