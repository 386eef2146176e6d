//! An event on one line: when, which trace, who, what.

use anstyle::Style;
use reflow_tracing_protocol::{StateDiff, TraceEvent, TraceEventType as Type, TraceId};

use crate::query::analysis::measured_size;
use crate::shared::show::{self, cut};
use crate::shared::terminal::{BAD, DIM, GOOD, NAME, WARN};

/// Longest text that is not a name.
const MOST: usize = 100;

/// The line of an event, without its end.
pub fn line(trace_id: &TraceId, event: &TraceEvent) -> String {
    let style = style(&event.event_type);
    format!(
        "{DIM}{} {}{DIM:#} {style}{:<16}{style:#} {NAME}{}{NAME:#}{}",
        show::time(event.timestamp),
        short(trace_id),
        event.event_type.name(),
        cut(&event.actor_id, 40),
        details(event),
    )
}

/// The end of an id: the beginning of a UUIDv7 is the time, which neighbours share.
fn short(trace_id: &TraceId) -> String {
    let id = trace_id.0.simple().to_string();
    format!("…{}", &id[id.len() - 8..])
}

fn style(event_type: &Type) -> Style {
    match event_type {
        Type::ActorFailed => BAD,
        Type::ActorCompleted => GOOD,
        Type::StateChanged | Type::NetworkEvent => WARN,
        _ => Style::new(),
    }
}

fn details(event: &TraceEvent) -> String {
    let mut text = String::new();
    if let Some(port) = &event.data.port {
        text.push_str(&format!(".{}", cut(port, 40)));
    }
    if let Type::DataFlow { to_actor, to_port } = &event.event_type {
        text.push_str(&format!(" → {NAME}{}{NAME:#}.{}", cut(to_actor, 40), cut(to_port, 40)));
    }
    if let Some(message) = &event.data.message {
        match measured_size(message) {
            Some(size) => text.push_str(&format!("  {} {}", cut(&message.message_type, 40), show::bytes(size))),
            None => text.push_str("  message"),
        }
    }
    if let Some(diff) = &event.data.state_diff {
        text.push_str(&format!("  {}", changed(diff)));
    }
    if let Some(error) = &event.data.error {
        text.push_str(&format!("  {BAD}{}{BAD:#}", cut(error, MOST)));
    }
    let time = event.data.performance_metrics.execution_time_ns;
    if time > 0 {
        text.push_str(&format!("  {DIM}{}{DIM:#}", show::nanos(time)));
    }
    text
}

/// `before → after`, where both are text.
fn changed(diff: &StateDiff) -> String {
    let show = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => cut(text, MOST / 2),
        Err(_) => show::bytes(bytes.len() as u64),
    };
    match &diff.before {
        Some(before) => format!("{} → {}", show(before), show(&diff.after)),
        None => show(&diff.after),
    }
}

#[cfg(test)]
mod tests {
    use reflow_tracing_protocol::StateDiffType;

    use super::*;

    fn shown(event: &TraceEvent) -> String {
        let line = line(&TraceId::from_uuid(uuid::Uuid::from_u128(0x1234)), event);
        anstream::adapter::strip_str(&line).to_string().split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn each_event_is_one_line_with_what_it_knows() {
        let flow = |kind: &str| {
            let [a, out, b, port] = ["a", "out", "b", "in"].map(String::from);
            TraceEvent::data_flow(a, out, b, port, kind.to_owned(), 1536)
        };
        assert_eq!(shown(&flow("String")), "…00001234 DataFlow         a.out → b.in  String 1.50 KiB");
        assert_eq!(shown(&flow("Discriminant(5)")), "…00001234 DataFlow         a.out → b.in  message");

        let failed = TraceEvent::actor_failed("a".into(), "bad\nluck\u{1b}[2J".into());
        assert_eq!(shown(&failed), "…00001234 ActorFailed      a  bad·luck·[2J");

        let mut completed = TraceEvent::actor_completed("a".into());
        completed.data.performance_metrics.execution_time_ns = 1_500_000;
        completed.data.state_diff =
            Some(StateDiff { before: Some(b"1".to_vec()), after: b"2".to_vec(), diff_type: StateDiffType::Full });
        assert_eq!(shown(&completed), "…00001234 ActorCompleted   a  1 → 2  1.50 ms");
    }
}
