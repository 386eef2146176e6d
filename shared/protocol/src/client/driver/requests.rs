//! Starts and ends of traces: what they are called, and how many may wait.
//!
//! Bounded: what waits of them takes at most half of the buffer. Beyond, the oldest starts give way (the batches of a trace carry its name
//! too; its version is lost), then the oldest ends (a server finds by itself that such a trace is idle). Each is counted, and
//! told by the next flush.

use std::collections::VecDeque;

use serde_json::json;
use uuid::Uuid;

use super::super::batch::{Body, Outgoing, What};
use super::super::mailbox::Start;
use super::super::metrics::Counters;
use super::super::settings::Settings;
use super::Driver;
use super::traces::{Flow, cut};
use crate::ExecutionStatus;

/// However small the buffer, so much may wait.
const LEAST_BYTES: usize = 64 << 10;

impl Driver {
    /// Begins a trace.
    pub(super) fn start(&mut self, start: &Start) {
        let Start { trace_id, flow_id, version } = start;
        let flow = flow(&self.shared.settings, Some(flow_id));
        let request_id = Uuid::now_v7();
        let body = json!({ "StartTrace": {
            "trace_id": trace_id, "flow_id": flow.id, "flow_name": flow.name, "version": version, "request_id": request_id,
        }});
        let trace = self.traces.get(*trace_id);
        (trace.flow, trace.own, trace.started, trace.ended) = (flow, true, true, false);
        self.request(What::Start, request_id, *trace_id, &body);
    }

    /// Ends a trace.
    pub(super) fn end(&mut self, trace_id: Uuid, status: &ExecutionStatus) {
        let request_id = Uuid::now_v7();
        let body = json!({ "EndTrace": { "trace_id": trace_id, "status": status, "request_id": request_id } });
        self.traces.get(trace_id).ended = true;
        self.request(What::End, request_id, trace_id, &body);
    }

    fn request(&mut self, what: What, id: Uuid, trace_id: Uuid, body: &serde_json::Value) {
        self.number += 1;
        let (number, body) = (self.number, Body::Text(body.to_string()));
        let request = Outgoing { id, number, trace_id, events: 0, what, body, spooled: false, attempts: 0 };
        self.requested_bytes += request.bytes();
        self.enqueue(request);
        let most = (self.shared.settings.buffer_bytes / 2).max(LEAST_BYTES);
        // Not with each: looking through all that waits takes its time.
        if self.requested_bytes > most / 8 {
            self.requested_bytes = 0;
            self.shed(most);
        }
    }

    /// Gives up starts and ends until no more than so many bytes of them wait.
    fn shed(&mut self, most: usize) {
        let mut backlog = self.shared.backlog();
        let waiting: usize = backlog.iter().filter(|outgoing| !outgoing.is_batch()).map(Outgoing::bytes).sum();
        let mut excess = waiting.saturating_sub(most);
        let mut given_up = Vec::new();
        for what in [What::Start, What::End] {
            if excess == 0 {
                break;
            }
            let mut kept = VecDeque::with_capacity(backlog.len());
            for outgoing in backlog.drain(..) {
                if excess > 0 && outgoing.what == what {
                    excess = excess.saturating_sub(outgoing.bytes());
                    given_up.push(outgoing);
                } else {
                    kept.push_back(outgoing);
                }
            }
            *backlog = kept;
        }
        drop(backlog);
        if given_up.is_empty() {
            return;
        }
        tracing::warn!(given_up = given_up.len(), "too many starts and ends of traces wait; the oldest are given up");
        Counters::add(&self.shared.counters.requests_lost, given_up.len() as u64);
        for request in given_up {
            self.cross_out(&request);
            self.shared.release(request.bytes());
        }
    }
}

/// What a trace is called; `None`: nobody has named it.
pub(super) fn flow(settings: &Settings, flow_id: Option<&str>) -> Flow {
    let program = || std::env::current_exe().ok()?.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = || settings.flow_name.clone();
    let flow = match flow_id {
        None => Flow { id: name().or_else(program), name: None },
        // How `reflow_network` calls every run of every program.
        Some(id) if is_network_session(id) => Flow { id: Some(id.to_owned()), name: name().or_else(program) },
        Some(id) => Flow { id: Some(id.to_owned()), name: name() },
    };
    let cut = |name: Option<String>| name.map(|name| cut(&name).to_owned());
    Flow { id: cut(flow.id), name: cut(flow.name) }
}

/// Every name that a trace goes by: its flow id and its flow name.
pub(crate) fn names(settings: &Settings, flow_id: Option<&str>) -> Vec<String> {
    let Flow { id, name } = flow(settings, flow_id);
    id.into_iter().chain(name).collect()
}

fn is_network_session(flow_id: &str) -> bool {
    let seconds = flow_id.strip_prefix("network_session_");
    seconds.is_some_and(|seconds| !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_reflow_network_is_named_after_its_program() {
        let program = std::env::current_exe().unwrap().file_stem().unwrap().to_string_lossy().into_owned();
        let named = |settings: &Settings, id| {
            let flow = flow(settings, id);
            (flow.id.unwrap(), flow.name)
        };
        let plain = Settings::default();
        assert_eq!(named(&plain, Some("network_session_1763")), ("network_session_1763".into(), Some(program.clone())));
        assert_eq!(named(&plain, Some("orders")), ("orders".into(), None));
        assert_eq!(named(&plain, None), (program, None));
        let told = Settings { flow_name: Some("shop".into()), ..Settings::default() };
        assert_eq!(named(&told, Some("network_session_1763")), ("network_session_1763".into(), Some("shop".into())));
        assert_eq!(named(&told, Some("orders")), ("orders".into(), Some("shop".into())));
        assert_eq!(named(&told, None), ("shop".into(), None));
        assert_eq!(flow(&plain, Some(&"ä".repeat(1_000))).id.unwrap().len(), 512);
    }
}
