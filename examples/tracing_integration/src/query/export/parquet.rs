//! Parquet through the column writers of the `parquet` crate, without Arrow: one row group for so many events, zstd.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use reflow_tracing_protocol::FlowTrace;

use super::Sink;
use super::row::{COLUMNS, Kind, Value, values};

/// Events in a row group: some ten megabytes of memory, and columns long enough to compress well.
const GROUP: usize = 50_000;

/// An event a row, in columns.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    rows: usize,
}

/// A column of the row group that is being gathered. Definition level 0 is "not there", 1 is "there".
struct Column {
    data: Data,
    levels: Vec<i16>,
}

enum Data {
    Text(Vec<ByteArray>),
    Whole(Vec<i64>),
    Real(Vec<f64>),
}

impl<W: Write + Send> Parquet<W> {
    /// Writes the file's head.
    pub(super) fn try_new(writer: W) -> Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = SerializedFileWriter::new(writer, Arc::new(schema()?), Arc::new(properties))
            .context("cannot begin a parquet file")?;
        Ok(Self { writer, columns: empty(), rows: 0 })
    }

    fn write_group(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().context("cannot write")?;
        for column in std::mem::replace(&mut self.columns, empty()) {
            let mut place = group.next_column().context("cannot write")?.context("the schema has fewer columns")?;
            let levels = Some(column.levels.as_slice());
            match (place.untyped(), column.data) {
                (ColumnWriter::ByteArrayColumnWriter(writer), Data::Text(data)) => {
                    writer.write_batch(&data, levels, None)
                }
                (ColumnWriter::Int64ColumnWriter(writer), Data::Whole(data)) => writer.write_batch(&data, levels, None),
                (ColumnWriter::DoubleColumnWriter(writer), Data::Real(data)) => writer.write_batch(&data, levels, None),
                _ => anyhow::bail!("the schema has a column of another type"),
            }
            .context("cannot write")?;
            place.close().context("cannot write")?;
        }
        group.close().context("cannot write")?;
        self.rows = 0;
        Ok(())
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        for event in &trace.events {
            for (column, value) in self.columns.iter_mut().zip(values(trace, event)) {
                column.push(value);
            }
            self.rows += 1;
            if self.rows == GROUP {
                self.write_group()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        self.writer.close().context("cannot write")?;
        Ok(())
    }
}

impl Column {
    fn push(&mut self, value: Value) {
        let there = match (&mut self.data, value) {
            (Data::Text(data), Value::Text(Some(text))) => {
                data.push(ByteArray::from(text.into_bytes()));
                true
            }
            (Data::Whole(data), Value::Whole(Some(number)) | Value::Time(number)) => {
                data.push(number);
                true
            }
            (Data::Real(data), Value::Real(Some(number))) => {
                data.push(number);
                true
            }
            _ => false,
        };
        self.levels.push(i16::from(there));
    }
}

fn empty() -> Vec<Column> {
    let data = |kind| match kind {
        Kind::Text => Data::Text(Vec::new()),
        Kind::Whole | Kind::Time => Data::Whole(Vec::new()),
        Kind::Real => Data::Real(Vec::new()),
    };
    COLUMNS.iter().map(|(_, kind, _)| Column { data: data(*kind), levels: Vec::new() }).collect()
}

fn schema() -> Result<Type> {
    let column = |name: &str, kind: Kind| {
        let (physical, logical) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Whole => (Physical::INT64, None),
            Kind::Real => (Physical::DOUBLE, None),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let fields: Result<Vec<_>, _> = COLUMNS.iter().map(|(name, kind, _)| column(name, *kind)).collect();
    Type::group_type_builder("event").with_fields(fields.context("parquet schema")?).build().context("parquet schema")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;
    use crate::query::samples;

    fn written(traces: &[FlowTrace]) -> SerializedFileReader<Bytes> {
        let mut bytes = Vec::new();
        let mut sink = Box::new(Parquet::try_new(&mut bytes).unwrap());
        for trace in traces {
            sink.take(trace).unwrap();
        }
        sink.finish().unwrap();
        SerializedFileReader::new(Bytes::from(bytes)).unwrap()
    }

    #[test]
    fn every_value_is_read_back() {
        let traces = [samples::published(), samples::measured(3)];
        let expected: Vec<Vec<Value>> =
            traces.iter().flat_map(|trace| trace.events.iter().map(|event| values(trace, event).collect())).collect();
        let file = written(&traces);
        let read: Vec<Vec<Value>> = file
            .get_row_iter(None)
            .unwrap()
            .map(|row| {
                let row = row.unwrap();
                row.get_column_iter().zip(COLUMNS).map(|((_, field), (_, kind, _))| value(field, *kind)).collect()
            })
            .collect();
        assert_eq!(read, expected);
        assert_eq!(file.metadata().file_metadata().num_rows(), 11 + 6);
    }

    #[test]
    fn more_events_than_a_group_holds_make_several() {
        let file = written(&[samples::measured(GROUP as u64 / 2 + 1)]);
        assert_eq!(file.metadata().num_row_groups(), 2);
        assert_eq!(file.metadata().file_metadata().num_rows(), GROUP as i64 + 2);
        assert_eq!(written(&[]).metadata().num_row_groups(), 0);
    }

    fn value(field: &Field, kind: Kind) -> Value {
        match (field, kind) {
            (Field::Str(text), Kind::Text) => Value::Text(Some(text.clone())),
            (Field::Long(number), Kind::Whole) => Value::Whole(Some(*number)),
            (Field::Double(number), Kind::Real) => Value::Real(Some(*number)),
            (Field::TimestampMicros(micros), Kind::Time) => Value::Time(*micros),
            (Field::Null, Kind::Text) => Value::Text(None),
            (Field::Null, Kind::Whole) => Value::Whole(None),
            (Field::Null, Kind::Real) => Value::Real(None),
            other => panic!("{other:?}"),
        }
    }
}
