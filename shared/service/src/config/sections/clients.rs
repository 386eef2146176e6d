//! What a server asks of the clients that connect to it.

use std::time::Duration;

use figment::value::Value;
use reflow_tracing_protocol::wire::SamplingRule;

use super::super::keys::{Setting, section};

section! {
    /// What v2 clients are asked to do. Published clients never hear of it.
    pub struct Clients at "clients." {
        /// What clients leave out of what they record: rules separated by `;`, each of any of `flow:`, `actor:` and `type:` with a name
        /// (`*` stands for any text), then `=` and the share that is kept: `flow:orders type:MessageSent = 0.1`. The first
        /// rule that an event meets decides; a program's own rules come before these. Failures are always kept, and a kept event says its share.
        sampling: Sampling = Sampling::default();
        because "nothing is left out unless somebody asks for it"
        /// How often a client is asked for its own figures (`reflow_client_*`), in seconds. 0: never.
        report_interval_secs: u64 = 60, in 0..=86_400;
        because "it is a frame of half a kilobyte, and drops in clients are then seen within a minute or two"
    }
}

impl Clients {
    /// How often clients are asked for their figures; `None`: never.
    pub fn report_interval(&self) -> Option<Duration> {
        (self.report_interval_secs > 0).then(|| Duration::from_secs(self.report_interval_secs))
    }
}

/// Sampling rules, written as text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling(Vec<SamplingRule>);

impl Sampling {
    /// The rules, in their order.
    pub fn rules(&self) -> &[SamplingRule] {
        &self.0
    }
}

impl Setting for Sampling {
    fn accepts() -> String {
        "rules such as `flow:orders type:MessageSent = 0.1; actor:worker_* = 0.5`".to_owned()
    }

    fn read(value: &Value, _: bool) -> Option<Self> {
        SamplingRule::parse_all(value.as_str()?).ok().map(Self)
    }

    fn show(&self) -> Option<toml::Value> {
        let rules: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        Some(toml::Value::String(rules.join("; ")))
    }
}
