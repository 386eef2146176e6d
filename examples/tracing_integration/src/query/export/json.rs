//! JSON: the fields of the protocol, and null for a figure that was not measured.

use std::io::Write;

use anyhow::{Context, Result};
use reflow_tracing_protocol::FlowTrace;
use serde::Serialize;

use super::Sink;
use super::figures::{Event, Trace};

/// An array of whole traces.
pub(super) struct Array<W> {
    writer: W,
    any: bool,
}

impl<W: Write> Array<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, any: false }
    }
}

impl<W: Write> Sink for Array<W> {
    fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        self.writer.write_all(if self.any { b",\n" } else { b"[\n" }).context("cannot write")?;
        self.any = true;
        serde_json::to_writer(&mut self.writer, &Trace::from(trace))
            .map_err(std::io::Error::from)
            .context("cannot write")
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let end: &[u8] = if self.any { b"\n]\n" } else { b"[]\n" };
        self.writer.write_all(end).and_then(|()| self.writer.flush()).context("cannot write")
    }
}

/// An event a line.
pub(super) struct Lines<W>(W);

impl<W: Write> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }
}

/// The event as in the protocol, and before it which trace it is of.
#[derive(Serialize)]
struct Line<'a> {
    trace_id: &'a reflow_tracing_protocol::TraceId,
    flow_id: &'a reflow_tracing_protocol::FlowId,
    #[serde(flatten)]
    event: Event<'a>,
}

impl<W: Write> Sink for Lines<W> {
    fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        for event in &trace.events {
            let line = Line { trace_id: &trace.trace_id, flow_id: &trace.flow_id, event: Event::from(event) };
            serde_json::to_writer(&mut self.0, &line).map_err(std::io::Error::from).context("cannot write")?;
            self.0.write_all(b"\n").context("cannot write")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.0.flush().context("cannot write")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::query::samples;

    #[test]
    fn an_array_holds_whole_traces() {
        for count in 0..3 {
            let mut bytes = Vec::new();
            let mut array = Box::new(Array::new(&mut bytes));
            for _ in 0..count {
                array.take(&samples::published()).unwrap();
            }
            array.finish().unwrap();
            let traces: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(traces.len(), count);
            assert!(traces.iter().all(|trace| trace["events"].as_array().unwrap().len() == 11));
        }
    }

    #[test]
    fn what_was_measured_is_there_and_what_was_not_is_null() {
        let written = |trace: &FlowTrace| {
            let mut bytes = Vec::new();
            let mut array = Box::new(Array::new(&mut bytes));
            array.take(trace).unwrap();
            array.finish().unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()[0].clone()
        };
        // All else is as in the protocol.
        let without_figures = |mut trace: Value| {
            for event in trace["events"].as_array_mut().unwrap() {
                event["data"]["performance_metrics"] = Value::Null;
                if event["data"]["message"].is_object() {
                    event["data"]["message"]["size_bytes"] = Value::Null;
                }
            }
            trace
        };
        for trace in [samples::published(), samples::measured(2)] {
            assert_eq!(without_figures(written(&trace)), without_figures(serde_json::to_value(&trace).unwrap()));
        }
        let published = written(&samples::published());
        for event in published["events"].as_array().unwrap() {
            let figures = event["data"]["performance_metrics"].as_object().unwrap();
            assert!(figures.len() == 5 && figures.values().all(Value::is_null), "{event}");
            assert!(event["data"]["message"]["size_bytes"].is_null(), "{event}");
        }
        let measured = written(&samples::measured(1));
        let figures = &measured["events"][0]["data"]["performance_metrics"];
        assert_eq!((&figures["execution_time_ns"], &figures["queue_depth"]), (&json!(1_000), &json!(0)));
        assert_eq!(measured["events"][1]["data"]["message"]["size_bytes"], 10);
    }

    #[test]
    fn each_line_is_an_event_with_its_trace() {
        let trace = samples::measured(2);
        let mut bytes = Vec::new();
        let mut lines = Box::new(Lines::new(&mut bytes));
        lines.take(&trace).unwrap();
        lines.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let read: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), 4);
        assert!(read.iter().all(|line| line["trace_id"] == trace.trace_id.0.to_string()));
        assert_eq!(read[0]["event_id"], trace.events[0].event_id.0.to_string());
        assert!(read[1]["data"]["performance_metrics"]["queue_depth"].is_null(), "{}", read[1]);
    }
}
