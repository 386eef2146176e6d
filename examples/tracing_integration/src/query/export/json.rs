//! JSON: the types of the protocol as they are, so that another program reads them with the protocol crate.

use std::io::Write;

use anyhow::{Context, Result};
use reflow_tracing_protocol::{FlowTrace, TraceEvent};
use serde::Serialize;

use super::Sink;

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
        serde_json::to_writer(&mut self.writer, trace).map_err(std::io::Error::from).context("cannot write")
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
    event: &'a TraceEvent,
}

impl<W: Write> Sink for Lines<W> {
    fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        for event in &trace.events {
            let line = Line { trace_id: &trace.trace_id, flow_id: &trace.flow_id, event };
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
    use super::*;
    use crate::query::samples;

    #[test]
    fn an_array_is_read_back_as_traces() {
        for count in 0..3 {
            let mut bytes = Vec::new();
            let mut array = Box::new(Array::new(&mut bytes));
            for _ in 0..count {
                array.take(&samples::published()).unwrap();
            }
            array.finish().unwrap();
            let traces: Vec<FlowTrace> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(traces.len(), count);
            assert!(traces.iter().all(|trace| trace.events.len() == 11));
        }
    }

    #[test]
    fn each_line_is_an_event_with_its_trace() {
        let trace = samples::measured(2);
        let mut bytes = Vec::new();
        let mut lines = Box::new(Lines::new(&mut bytes));
        lines.take(&trace).unwrap();
        lines.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let read: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), 4);
        assert!(read.iter().all(|line| line["trace_id"] == trace.trace_id.0.to_string()));
        let event: TraceEvent = serde_json::from_value(read[0].clone()).unwrap();
        assert_eq!(event.event_id, trace.events[0].event_id);
    }
}
