//! Leaves out events by rule, so that what is recorded still counts right.
//!
//! The program's own rules come first, then those that the server sent. Sampling stands before the buffer: an event that is left out gets no number
//! in its trace, so that it is not missing there; it is counted in the client's figures.
//!
//! Whether an event is recorded is read from its id, and of a `DataFlow` from that of its `MessageSent`: the two that tell of one
//! message are kept or left out together, and the same event always meets the same fate. Another cause decides nothing: all that happens
//! in one scope would be kept, or nothing of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use uuid::Uuid;

use crate::wire::{SAMPLE_RATE, SamplingRule, matches_pattern};
use crate::{TraceEvent, TraceEventType};

/// Traces whose names are known, the newest.
const TRACES: usize = 256;

/// Decides which events are recorded.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// Whether there are rules at all: without them an event costs one load.
    active: AtomicBool,
    rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    own: Vec<SamplingRule>,
    sent: Vec<SamplingRule>,
    /// What traces go by that nobody has named.
    unnamed: Vec<String>,
    /// Flow ids and names of traces, the newest last.
    traces: VecDeque<(Uuid, Vec<String>)>,
}

impl Sampler {
    /// With the program's own rules; what [`SamplingRule::check`] refuses is left out, with a warning. `unnamed` is what traces go by
    /// that nobody has named.
    pub(crate) fn new(own: &[SamplingRule], unnamed: Vec<String>) -> Self {
        let sampler = Self::default();
        sampler.set(|rules| (rules.own, rules.unnamed) = (sound(own), unnamed));
        sampler
    }

    /// A trace was begun: these are its flow id and its flow name.
    pub(crate) fn started(&self, trace_id: Uuid, names: Vec<String>) {
        self.set(|rules| {
            rules.traces.retain(|(known, _)| *known != trace_id);
            if rules.traces.len() >= TRACES {
                rules.traces.pop_front();
            }
            rules.traces.push_back((trace_id, names));
        });
    }

    /// Takes the rules that the server sent in place of those before.
    pub(crate) fn server_rules(&self, sent: &[SamplingRule]) {
        self.set(|rules| rules.sent = sound(sent));
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut rules);
        self.active.store(!(rules.own.is_empty() && rules.sent.is_empty()), Ordering::Release);
    }

    /// Whether an event of a trace is to be recorded; if it was left to chance, the event says so afterwards. `fate` is the id that decides,
    /// where the parent of a `DataFlow` is known to be no `MessageSent`.
    pub(crate) fn keep(&self, trace_id: Uuid, event: &mut TraceEvent, fate: Option<Uuid>) -> bool {
        if !self.active.load(Ordering::Acquire) || failed(event) {
            return true;
        }
        let rate = {
            let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
            match rules.own.iter().chain(&rules.sent).find(|rule| rules.meets(trace_id, event, rule)) {
                Some(rule) => rule.rate,
                None => return true,
            }
        };
        if rate >= 1.0 {
            return true;
        }
        if chance(fate.unwrap_or_else(|| decisive_id(event))) >= rate {
            return false;
        }
        event.data.custom_attributes.insert(SAMPLE_RATE.to_owned(), Value::from(rate));
        true
    }
}

impl Rules {
    fn meets(&self, trace_id: Uuid, event: &TraceEvent, rule: &SamplingRule) -> bool {
        rule.event_type.as_deref().is_none_or(|name| name == event.event_type.name())
            && rule.actor.as_deref().is_none_or(|pattern| matches_pattern(pattern, &event.actor_id))
            && rule.flow.as_deref().is_none_or(|pattern| {
                let named = self.traces.iter().rev().find(|(known, _)| *known == trace_id).map(|(_, names)| names);
                named.unwrap_or(&self.unnamed).iter().any(|name| matches_pattern(pattern, name))
            })
    }
}

fn sound(rules: &[SamplingRule]) -> Vec<SamplingRule> {
    let is_sound = |rule: &&SamplingRule| match rule.check() {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "sampling rule is left out");
            false
        }
    };
    rules.iter().filter(is_sound).cloned().collect()
}

fn failed(event: &TraceEvent) -> bool {
    event.event_type == TraceEventType::ActorFailed || event.data.error.is_some()
}

fn decisive_id(event: &TraceEvent) -> Uuid {
    match (&event.event_type, &event.causality.parent_event_id) {
        (TraceEventType::DataFlow { .. }, Some(parent)) => parent.0,
        _ => event.event_id.0,
    }
}

/// A number from 0 to below 1, the same for the same id and spread evenly also over ids that are not random.
fn chance(id: Uuid) -> f64 {
    let (high, low) = id.as_u64_pair();
    // The finaliser of MurmurHash3, in which every bit of the input sways every bit of the output.
    let mut bits = high ^ low.rotate_left(32);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^= bits >> 33;
    // As many bits as a float holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Cause;

    const TRACE: Uuid = Uuid::from_u128(1);

    fn sampler(rules: &[SamplingRule]) -> Sampler {
        let sampler = Sampler::new(rules, Vec::new());
        sampler.started(TRACE, vec!["network_session_1763900000".to_owned(), "pipeline".to_owned()]);
        sampler
    }

    fn rule(flow: Option<&str>, actor: Option<&str>, event_type: Option<&str>, rate: f64) -> SamplingRule {
        let own = |text: Option<&str>| text.map(str::to_owned);
        SamplingRule { flow: own(flow), actor: own(actor), event_type: own(event_type), rate }
    }

    fn event() -> TraceEvent {
        TraceEvent::message_sent("worker_1".into(), "out".into(), "T".into(), 1)
    }

    /// How many of 10,000 are kept.
    fn kept(sampler: &Sampler, event: impl Fn() -> TraceEvent) -> usize {
        (0..10_000).filter(|_| sampler.keep(TRACE, &mut event(), None)).count()
    }

    #[test]
    fn the_first_rule_that_an_event_meets_decides() {
        let never = |rules: &[SamplingRule]| kept(&sampler(rules), event) == 0;
        assert!(never(&[rule(Some("pipeline"), Some("worker_*"), Some("MessageSent"), 0.0)]));
        assert!(never(&[rule(Some("network_session_*"), None, None, 0.0), rule(None, None, None, 1.0)]));
        for missed in [
            rule(Some("other"), None, None, 0.0),
            rule(None, Some("sink"), None, 0.0),
            rule(None, None, Some("DataFlow"), 0.0),
        ] {
            assert_eq!(kept(&sampler(&[missed]), event), 10_000);
        }
        assert_eq!(kept(&sampler(&[rule(None, None, None, 1.0), rule(None, None, None, 0.0)]), event), 10_000);
    }

    #[test]
    fn a_sampled_event_carries_its_rate_and_counts_stay_true() {
        let sampler = sampler(&[rule(None, None, None, 0.1)]);
        let mut estimated = 0.0;
        for _ in 0..20_000 {
            let mut event = event();
            if sampler.keep(TRACE, &mut event, None) {
                estimated += 1.0 / event.data.custom_attributes[SAMPLE_RATE].as_f64().unwrap();
            }
        }
        // Six standard deviations.
        assert!((estimated - 20_000.0_f64).abs() < 2_600.0, "{estimated}");
    }

    #[test]
    fn failures_are_recorded_whole() {
        let sampler = sampler(&[rule(None, None, None, 0.0)]);
        let mut failed = TraceEvent::actor_failed("a".into(), "no".into());
        assert!(sampler.keep(TRACE, &mut failed, None));
        assert!(failed.data.custom_attributes.is_empty());
        let mut with_error = event();
        with_error.data.error = Some("no".into());
        assert!(sampler.keep(TRACE, &mut with_error, None));
    }

    #[test]
    fn a_flow_shares_the_fate_of_its_message() {
        let sampler = sampler(&[rule(None, None, None, 0.5)]);
        for _ in 0..1_000 {
            let mut sent = event();
            let mut flow = TraceEvent::data_flow("a".into(), "o".into(), "b".into(), "i".into(), "T".into(), 1);
            Cause::of(&sent).lead_to(&mut flow);
            assert_eq!(sampler.keep(TRACE, &mut sent, None), sampler.keep(TRACE, &mut flow, None));
        }
    }

    #[test]
    fn the_programs_own_rules_come_before_the_servers() {
        let sampler = sampler(&[rule(None, Some("worker_1"), None, 1.0)]);
        sampler.server_rules(&[rule(None, None, None, 0.0)]);
        assert_eq!(kept(&sampler, event), 10_000);
        assert_eq!(kept(&sampler, || TraceEvent::actor_created("other".into())), 0);
        sampler.server_rules(&[]);
        assert_eq!(kept(&sampler, || TraceEvent::actor_created("other".into())), 10_000);
    }

    #[test]
    fn rules_that_mean_nothing_change_nothing() {
        let sampler = sampler(&[rule(None, None, None, -1.0), rule(None, None, Some("Nothing"), 0.0)]);
        assert_eq!(kept(&sampler, event), 10_000);
    }

    #[test]
    fn chances_of_ids_that_count_up_are_spread_evenly() {
        let below = (0..10_000_u128).filter(|id| chance(Uuid::from_u128(*id)) < 0.25).count();
        assert!((2_200..2_800).contains(&below), "{below}");
    }

    #[test]
    fn flows_are_known_by_trace_and_the_newest_are_remembered() {
        let rules = [rule(Some("pipeline"), None, None, 0.0), rule(Some("program"), None, None, 0.0)];
        let sampler = Sampler::new(&rules, vec!["program".to_owned()]);
        let other = Uuid::from_u128(2);
        assert!(!sampler.keep(other, &mut event(), None), "not named yet");
        sampler.started(other, vec!["other".to_owned()]);
        assert!(sampler.keep(other, &mut event(), None));
        for trace in 0..1_000 {
            sampler.started(Uuid::from_u128(trace), vec!["pipeline".to_owned()]);
            assert!(!sampler.keep(Uuid::from_u128(trace), &mut event(), None));
        }
        assert_eq!(sampler.rules.read().unwrap().traces.len(), TRACES);
    }
}
