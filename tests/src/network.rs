//! What the network of `tests/compat/src/main.rs` does, event by event: three actors in a row, and so many messages along it.
//!
//! Programs built with different clients are held against the same list: what a program's trace lacks of it, its client has lost.

use std::collections::BTreeMap;

use serde_json::Value;

/// How often something happened that events tell in the same words: type, actor, port, and the receiver of a flow.
pub type Counts = BTreeMap<String, usize>;

/// Everything that the network does when it passes so many messages.
#[must_use]
pub fn expected(messages: usize) -> Counts {
    let mut counts = Counts::new();
    for (actor, runs) in [("generator", 1), ("transformer", messages), ("sink", messages)] {
        counts.insert(format!("ActorCreated {actor}"), 1);
        counts.insert(format!("ActorCompleted {actor}"), runs);
    }
    counts.insert("MessageSent generator in".to_owned(), 1);
    for (from, to) in [("generator", "transformer"), ("transformer", "sink")] {
        counts.insert(format!("MessageSent {from} out"), messages);
        counts.insert(format!("DataFlow {from} out {to} in"), messages);
    }
    counts
}

/// How often each thing is told by these events.
#[must_use]
pub fn counts<'a>(events: impl IntoIterator<Item = &'a Value>) -> Counts {
    let mut counts = Counts::new();
    for event in events {
        *counts.entry(words(event)).or_default() += 1;
    }
    counts
}

fn words(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let flow = &event["event_type"]["DataFlow"];
    let kind = if flow.is_object() { "DataFlow".to_owned() } else { text(&event["event_type"]) };
    let all =
        [kind, text(&event["actor_id"]), text(&event["data"]["port"]), text(&flow["to_actor"]), text(&flow["to_port"])];
    all.join(" ").trim_end().to_owned()
}
