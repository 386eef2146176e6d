//! An event as it comes in: borrowed from the frame, checked so that every reader will be able to read it.
//!
//! Guarantee: what parses as [`Event`] parses as the published `TraceEvent` too, unless [`Event::needs_v1_rewrite`] says that
//! figures are null or missing. What the header does not need is checked and not kept.

use std::borrow::Cow;
use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::skim::{Attributes, ByteArray};
use super::timestamp;
use crate::StateDiffType;

/// A string that borrows from the frame unless it holds escapes. (serde borrows a bare `Cow`, but not one in an `Option`.)
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Str<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// One event, checked.
#[derive(Clone, Debug, Deserialize)]
pub struct Event<'a> {
    /// Identifies it.
    pub event_id: Uuid,
    /// When it happened, by the program's clock.
    #[serde(deserialize_with = "timestamp::deserialize")]
    pub timestamp: DateTime<Utc>,
    /// What happened.
    #[serde(borrow)]
    pub event_type: EventType<'a>,
    /// To whom.
    #[serde(borrow)]
    pub actor_id: Str<'a>,
    /// Details.
    #[serde(borrow)]
    pub data: EventData<'a>,
    /// What led to it.
    #[serde(borrow)]
    pub causality: Causality<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum EventType<'a> {
    /// As in the published type.
    ActorCreated,
    /// As in the published type.
    ActorStarted,
    /// As in the published type.
    ActorCompleted,
    /// As in the published type.
    ActorFailed,
    /// As in the published type.
    MessageSent,
    /// As in the published type.
    MessageReceived,
    /// As in the published type.
    StateChanged,
    /// As in the published type.
    PortConnected,
    /// As in the published type.
    PortDisconnected,
    /// As in the published type.
    DataFlow {
        /// The receiver.
        #[serde(borrow)]
        to_actor: Str<'a>,
        /// Its in-port.
        #[serde(borrow)]
        to_port: Str<'a>,
    },
    /// As in the published type.
    NetworkEvent,
}

/// Details of an event, as far as headers need them.
#[derive(Clone, Debug, Deserialize)]
pub struct EventData<'a> {
    /// The port it happened at.
    #[serde(borrow)]
    pub port: Option<Str<'a>>,
    /// The message.
    #[serde(borrow)]
    pub message: Option<Message<'a>>,
    #[serde(rename = "state_diff")]
    _state_diff: Option<StateDiff>,
    /// The error.
    #[serde(borrow)]
    pub error: Option<Str<'a>>,
    /// Figures; null or missing where not measured.
    pub performance_metrics: Option<Metrics>,
    custom_attributes: Attributes,
}

/// The message of an event.
#[derive(Clone, Debug, Deserialize)]
pub struct Message<'a> {
    /// Its type.
    #[serde(borrow)]
    pub message_type: Str<'a>,
    /// Its size; null or missing where not measured.
    pub size_bytes: Option<u64>,
    #[serde(borrow, rename = "checksum")]
    _checksum: Str<'a>,
    #[serde(rename = "serialized_data")]
    _serialized_data: ByteArray,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StateDiff {
    #[serde(rename = "before")]
    _before: Option<ByteArray>,
    #[serde(rename = "after")]
    _after: ByteArray,
    #[serde(rename = "diff_type")]
    _diff_type: StateDiffType,
}

/// Figures of an event; null or missing where not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Metrics {
    /// Execution time, ns.
    pub execution_time_ns: Option<u64>,
    /// Memory in use, bytes.
    pub memory_usage_bytes: Option<u64>,
    /// Processor, percent.
    pub cpu_usage_percent: Option<f32>,
    /// Messages waiting.
    pub queue_depth: Option<u64>,
    /// Messages a second.
    pub throughput_msgs_per_sec: Option<f64>,
}

impl Metrics {
    /// All five are there and zero: what a v1 program sends when it measured nothing.
    pub fn all_zero(&self) -> bool {
        *self
            == Self {
                execution_time_ns: Some(0),
                memory_usage_bytes: Some(0),
                cpu_usage_percent: Some(0.0),
                queue_depth: Some(0),
                throughput_msgs_per_sec: Some(0.0),
            }
    }

    fn complete(&self) -> bool {
        self.execution_time_ns.is_some()
            && self.memory_usage_bytes.is_some()
            && self.cpu_usage_percent.is_some()
            && self.queue_depth.is_some()
            && self.throughput_msgs_per_sec.is_some()
    }
}

/// What led to an event: checked, of no use to headers.
#[derive(Clone, Debug, Deserialize)]
pub struct Causality<'a> {
    #[serde(rename = "parent_event_id")]
    _parent_event_id: Option<Uuid>,
    #[serde(rename = "root_cause_event_id")]
    _root_cause_event_id: Uuid,
    #[serde(rename = "dependency_chain")]
    _dependency_chain: Vec<Uuid>,
    #[serde(borrow, rename = "span_id")]
    _span_id: Str<'a>,
}

impl<'a> EventData<'a> {
    pub(super) fn new(
        port: Option<Str<'a>>,
        message: Option<Message<'a>>,
        state_diff: Option<StateDiff>,
        error: Option<Str<'a>>,
        performance_metrics: Option<Metrics>,
        custom_attributes: Attributes,
    ) -> Self {
        Self { port, message, _state_diff: state_diff, error, performance_metrics, custom_attributes }
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(message_type: Str<'a>, size_bytes: Option<u64>, checksum: Str<'a>, data: ByteArray) -> Self {
        Self { message_type, size_bytes, _checksum: checksum, _serialized_data: data }
    }
}

impl<'a> Causality<'a> {
    pub(super) fn new(parent: Option<Uuid>, root: Uuid, chain: Vec<Uuid>, span: Str<'a>) -> Self {
        Self { _parent_event_id: parent, _root_cause_event_id: root, _dependency_chain: chain, _span_id: span }
    }
}

impl Event<'_> {
    /// The chance with which the event was recorded, where sampling left it to chance: above 0 and below 1. An attribute of that name
    /// that is no such number says nothing.
    pub fn sample_rate(&self) -> Option<f64> {
        self.data.custom_attributes.sample_rate.filter(|rate| *rate > 0.0 && *rate < 1.0)
    }

    /// Whether a 0.2.1 reader cannot read the event as it stands.
    pub fn needs_v1_rewrite(&self) -> bool {
        let sized = self.data.message.as_ref().is_none_or(|message| message.size_bytes.is_some());
        let measured = self.data.performance_metrics.is_some_and(|metrics| metrics.complete());
        !(sized && measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceEvent;

    fn json(event: &TraceEvent) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn published_events_are_borrowed_and_need_no_rewrite() {
        let text = json(&TraceEvent::data_flow("a".into(), "out".into(), "b".into(), "in".into(), "T".into(), 3));
        let event: Event<'_> = serde_json::from_str(&text).unwrap();
        assert!(!event.needs_v1_rewrite());
        assert!(event.data.performance_metrics.unwrap().all_zero());
        assert!(matches!(event.actor_id.0, Cow::Borrowed("a")));
        assert!(matches!(event.data.port.unwrap().0, Cow::Borrowed("out")));
    }

    #[test]
    fn escaped_strings_are_read() {
        let text = json(&TraceEvent::actor_failed("a\"\n\u{1}".into(), "ü\\".into()));
        let event: Event<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(&*event.actor_id, "a\"\n\u{1}");
        assert_eq!(&*event.data.error.unwrap(), "ü\\");
    }

    #[test]
    fn null_and_missing_figures_ask_for_a_rewrite() {
        let text = json(&TraceEvent::actor_created("a".into()));
        for (from, to) in [("\"execution_time_ns\":0", "\"execution_time_ns\":null"), ("\"execution_time_ns\":0,", "")]
        {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(serde_json::from_str::<Event<'_>>(&changed).unwrap().needs_v1_rewrite());
        }
    }

    #[test]
    fn a_sample_rate_is_a_chance_among_the_attributes_themselves() {
        let text = json(&TraceEvent::actor_created("a".into()));
        for (attributes, rate) in [
            (r#"{"sample_rate":0.1}"#, Some(0.1)),
            (r#"{"a":[0.2],"sample_rate":2.5e-1,"b":{"sample_rate":0.3}}"#, Some(0.25)),
            (r#"{"sample\u005frate":0.5}"#, Some(0.5)),
            (r#"{"sample_rate":0.5,"sample_rate":0.25}"#, Some(0.25)),
            (r#"{"a":{"sample_rate":0.1}}"#, None),
            (r#"{"sample_rate":1}"#, None),
            (r#"{"sample_rate":0}"#, None),
            (r#"{"sample_rate":-0.1}"#, None),
            (r#"{"sample_rate":44100}"#, None),
            (r#"{"sample_rate":"0.1"}"#, None),
            (r#"{"sample_rate":null}"#, None),
            ("{}", None),
        ] {
            let changed = text.replace("\"custom_attributes\":{}", &format!("\"custom_attributes\":{attributes}"));
            for event in [serde_json::from_str(&changed).unwrap(), Event::parse(&changed).unwrap()] {
                let event: Event<'_> = event;
                assert_eq!(event.sample_rate(), rate, "{attributes}");
            }
        }
    }

    #[test]
    fn attributes_may_be_as_deep_as_documented() {
        let text = json(&TraceEvent::actor_created("a".into()));
        let with = |arrays: usize| {
            let deep = format!("\"custom_attributes\":{{\"a\":{}{}}}", "[".repeat(arrays), "]".repeat(arrays));
            text.replace("\"custom_attributes\":{}", &deep)
        };
        // The object is a level, too.
        assert!(serde_json::from_str::<Event<'_>>(&with(crate::wire::MAX_DEPTH - 1)).is_ok());
        assert!(serde_json::from_str::<Event<'_>>(&with(crate::wire::MAX_DEPTH)).is_err());
    }

    #[test]
    fn what_a_v1_reader_cannot_read_is_refused() {
        let text = json(&TraceEvent::message_sent("a".into(), "p".into(), "T".into(), 1));
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        for (from, to) in [
            ("\"serialized_data\":[]", "\"serialized_data\":[256]".to_owned()),
            ("\"custom_attributes\":{}", "\"custom_attributes\":{\"a\":\"\\ud800\"}".to_owned()),
            ("\"custom_attributes\":{}", "\"custom_attributes\":{\"a\":1e999}".to_owned()),
            ("\"custom_attributes\":{}", format!("\"custom_attributes\":{{\"a\":{deep}}}")),
            ("\"actor_id\":\"a\"", "\"actor_id\":\"a\",\"actor_id\":\"b\"".to_owned()),
        ] {
            let changed = text.replace(from, &to);
            assert_ne!(changed, text);
            assert!(serde_json::from_str::<Event<'_>>(&changed).is_err(), "{changed}");
        }
    }
}
