//! Traces out of the system, for other tools: whole (`json`), or an event a row (`jsonl`, `csv`, `parquet`).
//!
//! Traces are written one by one as they come, so that an export of a thousand needs the memory of one; only a Parquet row group
//! is gathered first. A file appears under its name when it is complete: until then it has `.part` behind it.

mod figures;
mod json;
mod parquet;
mod row;
mod rows;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use reflow_tracing_protocol::FlowTrace;

use crate::shared::exit::Usage;

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// An array of whole traces
    Json,
    /// An event a line, with its trace's ids
    Jsonl,
    /// An event a row, with a header
    Csv,
    /// An event a row, in columns, compressed
    Parquet,
}

/// Takes traces and writes them in a form.
trait Sink {
    fn take(&mut self, trace: &FlowTrace) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An export under way.
pub struct Export {
    sink: Box<dyn Sink>,
    file: Option<Unfinished>,
    events: u64,
}

impl Export {
    /// Begins an export into a file, or to standard output.
    ///
    /// # Errors
    /// [`Usage`] for binary data on a terminal; when the file cannot be made.
    pub fn try_new(format: ExportFormat, output: Option<&Path>) -> Result<Self> {
        if format == ExportFormat::Parquet && output.is_none() && io::stdout().is_terminal() {
            let advice = "parquet is binary: name a file with --output, or redirect standard output";
            return Err(Usage(advice.to_owned()).into());
        }
        let (file, writer): (_, Box<dyn Write + Send>) = match output {
            Some(path) => {
                let (unfinished, file) = Unfinished::create(path)?;
                (Some(unfinished), Box::new(BufWriter::new(file)))
            }
            None => (None, Box::new(BufWriter::new(io::stdout()))),
        };
        let sink: Box<dyn Sink> = match format {
            ExportFormat::Json => Box::new(json::Array::new(writer)),
            ExportFormat::Jsonl => Box::new(json::Lines::new(writer)),
            ExportFormat::Csv => Box::new(rows::Csv::new(writer)),
            ExportFormat::Parquet => Box::new(parquet::Parquet::try_new(writer)?),
        };
        Ok(Self { sink, file, events: 0 })
    }

    /// Writes a trace.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn take(&mut self, trace: &FlowTrace) -> Result<()> {
        self.events += trace.events.len() as u64;
        self.sink.take(trace)
    }

    /// Writes what is left and gives the file its name. Returns how many events were written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<u64> {
        self.sink.finish()?;
        if let Some(file) = self.file {
            file.complete()?;
        }
        Ok(self.events)
    }
}

/// A file that has its name only once it is complete.
struct Unfinished {
    part: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Unfinished {
    fn create(path: &Path) -> Result<(Self, File)> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        Ok((Self { part, path: path.to_owned(), done: false }, file))
    }

    fn complete(mut self) -> Result<()> {
        std::fs::rename(&self.part, &self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // Nothing more can be done about a file that cannot be removed either.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Writes a text into a file in the same way, or to standard output.
///
/// # Errors
/// When it cannot be written.
pub fn write_text(text: &str, output: Option<&Path>) -> Result<()> {
    let Some(path) = output else {
        let mut out = io::stdout();
        return out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write");
    };
    let (unfinished, mut file) = Unfinished::create(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    unfinished.complete()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples;

    #[test]
    fn a_file_appears_when_it_is_complete_and_never_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.csv");
        let names =
            || -> Vec<_> { folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect() };

        let mut export = Export::try_new(ExportFormat::Csv, Some(&path)).unwrap();
        export.take(&samples::published()).unwrap();
        assert_eq!(names(), ["events.csv.part"]);
        drop(export);
        assert!(names().is_empty());

        let mut export = Export::try_new(ExportFormat::Csv, Some(&path)).unwrap();
        export.take(&samples::published()).unwrap();
        assert_eq!(export.finish().unwrap(), 11);
        assert_eq!(names(), ["events.csv"]);
    }
}
