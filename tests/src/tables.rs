//! The store's tables by SQL, past all code of ours that could make the same mistake twice.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use crate::{
    cluster::DATABASE,
    eventually::{eventually, patience},
    postgres::Postgres,
};

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

    /// The events of each trace that its summary says are still there.
    ///
    /// # Errors
    /// When the store cannot be asked, or a trace is there twice.
    pub async fn stored_events(&self) -> Result<BTreeMap<Uuid, u64>> {
        self.pairs("trace_id", "stored_events", "traces").await
    }

    /// The events of each trace whose chunks were stored in the last so many days before the newest, and on its day.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn events_within(&self, days: u32) -> Result<BTreeMap<Uuid, u64>> {
        let young = format!("day >= (SELECT max(day) - {days} FROM chunks)");
        let events = format!("sum(CASE WHEN {young} THEN events ELSE 0 END)");
        self.pairs("trace_id", &events, "traces JOIN chunks ON trace = seq GROUP BY trace_id").await
    }

    /// How many chunk ids the store knows again, packed by compaction or not.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn remembered_ids(&self) -> Result<u64> {
        self.number("SELECT (SELECT count(*) FROM seen) + (SELECT coalesce(sum(length(ids) / 16), 0) FROM seen_packed)")
            .await
    }

    /// How many traces compaction still has something to do about.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn loose_traces(&self) -> Result<u64> {
        self.number("SELECT count(*) FROM traces WHERE is_loose = 1").await
    }

    /// What one table says of another is so, and nothing belongs to a trace that is not there. Only while nothing is written;
    /// compaction and retention may be at work.
    ///
    /// # Errors
    /// When it is not so for a long time, with what is wrong.
    pub async fn check_agreement(&self) -> Result<()> {
        let differing = |what: &str, keys: &str, one: &str, other: &str| {
            let both = format!("SELECT {one} UNION ALL SELECT {other}");
            let wrong = format!("SELECT 1 FROM ({both}) AS both_sides GROUP BY {keys} HAVING sum(n) <> 0");
            (what.to_owned(), format!("SELECT count(*) FROM ({wrong}) AS wrong"))
        };
        let mut questions = vec![
            differing(
                "summaries that count other events than are stored",
                "trace",
                "seq AS trace, stored_events AS n FROM traces",
                "trace, -events FROM chunks",
            ),
            differing(
                "hours that count other bytes than are stored",
                "day, hour",
                "day, hour, bytes AS n FROM chunk_hours",
                "day, hour, -length(payload) FROM chunks",
            ),
            differing(
                "hours that count other chunks than are stored",
                "day, hour",
                "day, hour, chunks AS n FROM chunk_hours",
                "day, hour, -1 FROM chunks",
            ),
            differing(
                "totals that count other traces than there are",
                "tenant, flow_name, state",
                "tenant, flow_name, state, traces AS n FROM trace_counts",
                "tenant, coalesce(flow_name, ''), state, -1 FROM traces",
            ),
        ];
        for table in ["chunks", "trace_actors", "trace_clients", "trace_aliases"] {
            let orphans = format!("SELECT count(*) FROM {table} WHERE trace NOT IN (SELECT seq FROM traces)");
            questions.push((format!("rows of {table} without a trace"), orphans));
        }
        eventually(patience(), || async {
            for (what, question) in &questions {
                let wrong = self.number(question).await?;
                ensure!(wrong == 0, "{wrong} {what}");
            }
            Ok(())
        })
        .await
    }

    /// Changes the store behind the back of our services. Best while none of them is writing.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn change(&self, statements: &str) -> Result<()> {
        match self {
            Self::Postgres(server) => server.sql(DATABASE, statements).await.map(drop),
            Self::Sqlite(file) => sqlite(file, &["-bail"], statements).await.map(drop),
        }
    }

    async fn number(&self, question: &str) -> Result<u64> {
        let row = self.sql(question).await?;
        row.parse().with_context(|| format!("not a number: {row}"))
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
            Self::Sqlite(file) => sqlite(file, &["-readonly"], query).await,
        }
    }
}

async fn sqlite(file: &Path, options: &[&str], statements: &str) -> Result<String> {
    let mut command = tokio::process::Command::from(Command::new("sqlite3"));
    let output = command
        // A writer holds its lock for moments.
        .args(["-batch", "-cmd", ".timeout 5000"])
        .args(options)
        .arg(file)
        .arg(statements)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run sqlite3: tests/run.sh installs it")?;
    ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
