//! CSV as RFC 4180 has it: a header, quotes where needed, times as RFC 3339 in UTC, empty for "not measured".

use std::io::Write;

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat};
use reflow_tracing_protocol::FlowTrace;

use super::Sink;
use super::row::{COLUMNS, Value, values};

/// An event a row.
pub(super) struct Csv<W: Write> {
    writer: csv::Writer<W>,
    any: bool,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer: csv::Writer::from_writer(writer), any: false }
    }

    /// Also a file without events says what it would have held.
    fn head(&mut self) -> Result<()> {
        if !self.any {
            self.any = true;
            self.writer.write_record(COLUMNS.iter().map(|(name, _, _)| name)).map_err(io).context("cannot write")?;
        }
        Ok(())
    }
}

impl<W: Write> Sink for Csv<W> {
    fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        self.head()?;
        for event in &trace.events {
            let fields = values(trace, event).map(field);
            self.writer.write_record(fields).map_err(io).context("cannot write")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.head()?;
        self.writer.flush().context("cannot write")
    }
}

/// So that a reader that went away is still found: the library's own conversion hides which kind of error it was.
fn io(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

fn field(value: Value) -> String {
    match value {
        Value::Text(text) => text.unwrap_or_default(),
        Value::Whole(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        Value::Real(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        Value::Time(micros) => DateTime::from_timestamp_micros(micros)
            .map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples;

    fn written(traces: &[FlowTrace]) -> String {
        let mut bytes = Vec::new();
        let mut sink = Box::new(Csv::new(&mut bytes));
        for trace in traces {
            sink.take(trace).unwrap();
        }
        sink.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn rows_are_read_back_with_quotes_lines_and_gaps() {
        let mut trace = samples::published();
        trace.events[4].data.error = Some("a \"quoted\",\ntwo-line error".into());
        let text = written(&[trace]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let heads = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let value = |row: usize, name: &str| &rows[row][heads.iter().position(|head| head == name).unwrap()];
        assert_eq!(rows.len(), 11);
        assert_eq!(value(4, "error"), "a \"quoted\",\ntwo-line error");
        assert_eq!((value(3, "event_type"), value(3, "to_actor"), value(3, "to_port")), ("DataFlow", "sink", "in"));
        assert_eq!((value(3, "execution_time_ns"), value(3, "size_bytes"), value(3, "queue_depth")), ("", "", ""));
        assert_eq!(value(0, "timestamp"), "2026-01-31T12:00:00.000000Z");
    }

    #[test]
    fn no_events_leave_a_header() {
        assert_eq!(written(&[]).lines().count(), 1);
    }
}
