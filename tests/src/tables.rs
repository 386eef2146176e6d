//! The store's tables by SQL, past all code of ours that could make the same mistake twice.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use crate::{cluster::DATABASE, postgres::Postgres};

/// Where the tables are; those that are asked here have the same names in both.
#[derive(Debug, Clone, Copy)]
pub enum Tables<'a> {
    /// In the database of a cluster.
    Postgres(&'a Postgres),
    /// In a file, which a running service may be writing.
    Sqlite(&'a Path),
}

/// What lies in the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events in raw rows.
    pub rows: u64,
    /// Events in summaries.
    pub summaries: u64,
    /// Events in rollups.
    pub rollups: u64,
}

impl<'a> From<&'a Postgres> for Tables<'a> {
    fn from(server: &'a Postgres) -> Self {
        Self::Postgres(server)
    }
}

impl<'a> From<&'a Path> for Tables<'a> {
    fn from(file: &'a Path) -> Self {
        Self::Sqlite(file)
    }
}

impl Tables<'_> {
    /// What every count of the store says.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn counts(&self) -> Result<Counts> {
        let sum = |table: &str, column: &str| format!("(SELECT coalesce(sum({column}), 0) FROM {table})");
        let sums = [sum("chunks", "events"), sum("traces", "event_count"), sum("rollups", "events")].join(", ");
        let row = self.sql(&format!("SELECT {sums}")).await?;
        let numbers: Vec<u64> = row.split('|').map(str::parse).collect::<Result<_, _>>().context(row.clone())?;
        let [rows, summaries, rollups] = numbers[..] else { anyhow::bail!("not three sums: {row}") };
        Ok(Counts { rows, summaries, rollups })
    }

    /// The events of each chunk. A v2 batch is one, until compaction merges those of a trace.
    ///
    /// # Errors
    /// When the store cannot be asked, or a chunk is there twice.
    pub async fn chunks(&self) -> Result<BTreeMap<Uuid, u64>> {
        self.pairs("chunk_id", "events", "chunks").await
    }

    /// The events of each trace, as its summary counts them.
    ///
    /// # Errors
    /// When the store cannot be asked, or a trace is there twice.
    pub async fn summaries(&self) -> Result<BTreeMap<Uuid, u64>> {
        self.pairs("trace_id", "event_count", "traces").await
    }

    async fn pairs(&self, id: &str, count: &str, table: &str) -> Result<BTreeMap<Uuid, u64>> {
        let id = match self {
            Self::Postgres(_) => id.to_owned(),
            Self::Sqlite(_) => format!("hex({id})"),
        };
        let rows = self.sql(&format!("SELECT {id}, {count} FROM {table}")).await?;
        let parsed: BTreeMap<Uuid, u64> = rows
            .lines()
            .map(|row| {
                let (id, count) = row.split_once('|').context("not two columns")?;
                Ok((Uuid::try_parse(id)?, count.parse()?))
            })
            .collect::<Result<_>>()?;
        ensure!(parsed.len() == rows.lines().count(), "an id is twice in {table}");
        Ok(parsed)
    }

    /// Rows one a line, columns parted by `|`: both programs say it so.
    async fn sql(&self, query: &str) -> Result<String> {
        match self {
            Self::Postgres(server) => server.sql(DATABASE, query).await,
            Self::Sqlite(file) => sqlite(file, query).await,
        }
    }
}

async fn sqlite(file: &Path, query: &str) -> Result<String> {
    let mut command = tokio::process::Command::from(Command::new("sqlite3"));
    let output = command
        // A writer holds its lock for moments.
        .args(["-readonly", "-batch", "-cmd", ".timeout 5000"])
        .arg(file)
        .arg(query)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run sqlite3: tests/run.sh installs it")?;
    ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
