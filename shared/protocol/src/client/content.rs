//! What a message holds: its checksum, its size and, if the program wants that, the content itself.
//!
//! The checksum is Reflow's: `sha256:` and 64 lower-case hex digits over the canonical JSON of the value, which is compact JSON with
//! the keys of every object in ascending order of their bytes. Only the value goes in, so the same content has the same checksum whoever
//! sends it, whenever. The size is that of the same JSON. For a Reflow message the value is what its serde gives, `{"type":…,"data":…}`.
//!
//! The three are made where nobody waits: a [`Content`] travels with its event and becomes a [`MessageSnapshot`] when its batch is
//! built. Left out on purpose: compressing the captured content by itself; its batch is compressed as a whole.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{MessageSnapshot, TraceEvent};

/// The content of a message, handed over to be measured later.
#[derive(Clone, Debug, PartialEq)]
pub struct Content(Value);

/// What of a content is sent along with its checksum and size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Nothing.
    #[default]
    Off,
    /// The canonical JSON, if it has no more than so many bytes; of larger content nothing.
    UpTo(usize),
}

impl Content {
    /// The content that a serialisable value has. Serialises on the caller's thread.
    ///
    /// # Errors
    /// When the value cannot be JSON: a map whose keys are no strings, or an error of its own.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_value(value).map(Self)
    }

    /// The canonical JSON: compact, the keys of every object sorted.
    pub fn canonical_json(&self) -> String {
        let mut out = String::new();
        write_canonical(&self.0, &mut out);
        out
    }

    /// `sha256:` and 64 lower-case hex digits over [`Content::canonical_json`].
    pub fn checksum(&self) -> String {
        checksum_of(&self.canonical_json())
    }

    /// About how many bytes it takes in memory, for a buffer that is bounded in bytes.
    pub fn memory_bytes(&self) -> usize {
        memory_bytes(&self.0)
    }

    /// A message of this content: with its checksum and size, and with the content itself where `capture` says so.
    pub fn snapshot(&self, message_type: impl Into<String>, capture: Capture) -> MessageSnapshot {
        let json = self.canonical_json();
        MessageSnapshot {
            message_type: message_type.into(),
            size_bytes: json.len(),
            checksum: checksum_of(&json),
            serialized_data: match capture {
                Capture::UpTo(most) if json.len() <= most => json.into_bytes(),
                Capture::UpTo(_) | Capture::Off => Vec::new(),
            },
        }
    }

    /// Puts checksum, size and perhaps content into an event that was recorded without them.
    pub(crate) fn fill(&self, event: &mut TraceEvent, capture: Capture) {
        if let Some(message) = &mut event.data.message {
            *message = self.snapshot(std::mem::take(&mut message.message_type), capture);
        }
    }
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

fn checksum_of(canonical: &str) -> String {
    let digest = Sha256::digest(canonical.as_bytes());
    let mut checksum = String::with_capacity(7 + 64);
    checksum.push_str("sha256:");
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(checksum, "{byte:02x}");
    }
    checksum
}

/// Sorted here and not by `serde_json`'s map: with its feature `preserve_order`, which any crate of a program may switch on, that map
/// keeps the order of insertion.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (place, (key, item)) in fields.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_string(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    // A string is always JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn memory_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(memory_bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(key, value)| 32 + key.len() + memory_bytes(value)).sum(),
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn checksums_are_those_of_reflow() {
        // printf '{}' | sha256sum
        let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(Content::from(json!({})).checksum(), empty);
        // printf '{"data":"hello","type":"String"}' | sha256sum
        let hello = "sha256:3b3966bebeb9ec8a4d5d6b391addad1da89f0a1d106edcf2318397bda2d5a58e";
        assert_eq!(Content::from(json!({"type": "String", "data": "hello"})).checksum(), hello);
    }

    #[test]
    fn canonical_json_is_compact_and_its_keys_are_sorted_at_every_level() {
        let content = Content::from(json!({"b": [1, {"z": null, "a": "ü\"\n"}], "a": {"d": 1.5, "c": true}}));
        assert_eq!(content.canonical_json(), r#"{"a":{"c":true,"d":1.5},"b":[1,{"a":"ü\"\n","z":null}]}"#);
    }

    #[test]
    fn content_is_captured_only_where_wanted_and_small_enough() {
        let content = Content::from(json!({"a": 1}));
        let data = |capture| content.snapshot("Object", capture).serialized_data;
        assert_eq!(data(Capture::default()), b"");
        assert_eq!(data(Capture::UpTo(7)), br#"{"a":1}"#);
        assert_eq!(data(Capture::UpTo(6)), b"");
        let message = content.snapshot("Object", Capture::Off);
        assert_eq!((message.size_bytes, message.message_type.as_str()), (7, "Object"));
        assert_eq!(message.checksum, content.checksum());
    }

    proptest! {
        #[test]
        fn canonical_json_says_the_same_and_does_not_depend_on_order(pairs: std::collections::BTreeMap<String, i64>) {
            let forward: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            let backward: serde_json::Map<_, _> = pairs.iter().rev().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            let (forward, backward) = (Content(forward.into()), Content(backward.into()));
            prop_assert_eq!(forward.canonical_json(), backward.canonical_json());
            let read: Value = serde_json::from_str(&forward.canonical_json()).unwrap();
            prop_assert_eq!(Content(read), forward);
        }
    }
}
