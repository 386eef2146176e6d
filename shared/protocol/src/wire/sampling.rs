//! Which events a client records, and which it leaves out: rules that a program sets or a v2 server sends.
//!
//! The first rule that an event meets decides; an event that meets none is recorded. Failures (`ActorFailed`, and whatever carries an
//! error) are always recorded, whatever the rules say. An event that was recorded with a chance below one says that chance in its
//! attribute [`SAMPLE_RATE`], where a v1 reader finds it too, so that it stands for `1 / rate` events when they are counted.
//!
//! Rules are written as text where a setting is text: `flow:orders actor:worker_* type:MessageSent = 0.1; type:DataFlow = 0.5`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TraceEventType;

/// The attribute of a sampled event: the chance it had of being recorded, above 0 and below 1.
pub const SAMPLE_RATE: &str = "sample_rate";

/// One rule. Every field that is there narrows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingRule {
    /// Flow id or flow name; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Actor; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Event type, by its name on the wire, such as `MessageSent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Chance of being recorded: 0 (none) to 1 (all).
    pub rate: f64,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingRuleError {
    /// The rate is no chance.
    #[error("rate {0} of a sampling rule is not between 0 and 1")]
    Rate(f64),
    /// There is no such event type.
    #[error("`{0}` in a sampling rule is no event type; they are {names}", names = EVENT_TYPES.join(", "))]
    EventType(String),
    /// The text is no rule.
    #[error(
        "`{0}` is no sampling rule; one looks like `flow:orders actor:worker_* type:MessageSent = 0.1`, several are separated by `;`"
    )]
    Text(String),
}

/// Names of the event types on the wire.
pub const EVENT_TYPES: [&str; 11] = [
    "ActorCreated",
    "ActorStarted",
    "ActorCompleted",
    "ActorFailed",
    "MessageSent",
    "MessageReceived",
    "StateChanged",
    "PortConnected",
    "PortDisconnected",
    "DataFlow",
    "NetworkEvent",
];

impl SamplingRule {
    /// Whether the rule means something.
    ///
    /// # Errors
    /// For a rate outside 0 to 1 and an unknown event type.
    pub fn check(&self) -> Result<(), SamplingRuleError> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(SamplingRuleError::Rate(self.rate));
        }
        match &self.event_type {
            Some(name) if !EVENT_TYPES.contains(&name.as_str()) => Err(SamplingRuleError::EventType(name.clone())),
            _ => Ok(()),
        }
    }

    /// Reads rules written as text, separated by `;`.
    ///
    /// # Errors
    /// For the first that is no rule, or means nothing.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, SamplingRuleError> {
        let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, SamplingRuleError> {
        let wrong = || SamplingRuleError::Text(text.to_owned());
        let (selectors, rate) = text.rsplit_once('=').ok_or_else(wrong)?;
        let mut rule = Self { rate: rate.trim().parse().map_err(|_| wrong())?, ..Self::default() };
        for selector in selectors.split_whitespace() {
            let (field, value) = selector.split_once(':').ok_or_else(wrong)?;
            let field = match field {
                "flow" => &mut rule.flow,
                "actor" => &mut rule.actor,
                "type" => &mut rule.event_type,
                _ => return Err(wrong()),
            };
            if field.replace(value.to_owned()).is_some() {
                return Err(wrong());
            }
        }
        rule.check()?;
        Ok(rule)
    }
}

/// As [`SamplingRule::parse_all`] reads it.
impl fmt::Display for SamplingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selectors = [("flow", &self.flow), ("actor", &self.actor), ("type", &self.event_type)];
        for (field, value) in selectors {
            if let Some(value) = value {
                write!(f, "{field}:{value} ")?;
            }
        }
        write!(f, "= {}", self.rate)
    }
}

impl TraceEventType {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ActorCreated => "ActorCreated",
            Self::ActorStarted => "ActorStarted",
            Self::ActorCompleted => "ActorCompleted",
            Self::ActorFailed => "ActorFailed",
            Self::MessageSent => "MessageSent",
            Self::MessageReceived => "MessageReceived",
            Self::StateChanged => "StateChanged",
            Self::PortConnected => "PortConnected",
            Self::PortDisconnected => "PortDisconnected",
            Self::DataFlow { .. } => "DataFlow",
            Self::NetworkEvent => "NetworkEvent",
        }
    }
}

/// Whether `text` is what `pattern` says, where `*` stands for any text.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut rest = rest;
    // Each part between two stars takes the first place it fits; the last part must stand at the end.
    while let Some((part, after)) = rest.split_once('*') {
        let Some(place) = text.find(part) else { return false };
        text = &text[place + part.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, matches) in [
            ("worker", "worker", true),
            ("worker", "worker_1", false),
            ("worker_*", "worker_1", true),
            ("worker_*", "worker_", true),
            ("*_1", "worker_1", true),
            ("*_1", "worker_12", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_that_mean_nothing_are_told() {
        let rule = |event_type: Option<&str>, rate| SamplingRule {
            event_type: event_type.map(Into::into),
            rate,
            ..SamplingRule::default()
        };
        assert_eq!(rule(Some("DataFlow"), 0.5).check(), Ok(()));
        assert_eq!(rule(None, 1.5).check(), Err(SamplingRuleError::Rate(1.5)));
        assert!(rule(None, f64::NAN).check().is_err());
        let unknown = rule(Some("data_flow"), 0.5).check().unwrap_err().to_string();
        assert!(unknown.contains("`data_flow`") && unknown.contains("NetworkEvent"), "{unknown}");
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let text = "flow:orders actor:worker_* type:MessageSent = 0.1;; type:DataFlow=0.5 ; = 1";
        let rules = SamplingRule::parse_all(text).unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].actor.as_deref(), Some("worker_*"));
        assert_eq!((rules[1].event_type.as_deref(), rules[1].rate), (Some("DataFlow"), 0.5));
        let written: Vec<_> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["flow:orders actor:worker_* type:MessageSent = 0.1", "type:DataFlow = 0.5", "= 1"]);
        assert_eq!(SamplingRule::parse_all(&written.join(";")).unwrap(), rules);
        assert_eq!(SamplingRule::parse_all(" ").unwrap(), []);
    }

    #[test]
    fn text_that_is_no_rule_is_told() {
        for text in
            ["0.1", "flow = 0.1", "flow:a", "flow:a = much", "flow:a flow:b = 1", "port:a = 1", "type:No = 1", "= 2"]
        {
            let error = SamplingRule::parse_all(text).unwrap_err().to_string();
            assert!(
                error.contains(text.rsplit([':', '=']).next().unwrap().trim()) || error.contains("No"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn every_event_type_has_its_name() {
        for name in EVENT_TYPES.iter().filter(|name| **name != "DataFlow") {
            let kind: TraceEventType = serde_json::from_value(serde_json::Value::from(*name)).unwrap();
            assert_eq!(kind.name(), *name);
        }
    }
}
