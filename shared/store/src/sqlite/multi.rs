//! Statements over many rows.
//!
//! Each statement is a trip to the connection's thread and back, so rows go in groups. Groups have sizes of powers of two: few
//! different texts, which the connection keeps prepared.

use std::sync::{Arc, OnceLock};

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe};

const LARGEST: usize = 7;

/// `head (?, ?), (?, ?), … tail`.
pub(super) struct Multi {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; LARGEST + 1],
}

impl Multi {
    pub const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, texts: [const { OnceLock::new() }; LARGEST + 1] }
    }

    fn text(&self, power: usize) -> Arc<str> {
        let build = || {
            let tuple = format!("({})", vec!["?"; self.columns].join(", "));
            format!("{}{}{}", self.head, vec![tuple; 1 << power].join(", "), self.tail).into()
        };
        Arc::clone(self.texts[power].get_or_init(build))
    }

    /// Runs it over all rows, and gives what it returns, in no particular order.
    pub async fn fetch<R: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[R],
        bind: impl for<'a, 'r> Fn(&'a R, &'r mut Row) -> &'r mut Row + Send + Sync,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut returned = Vec::new();
        for (power, group) in groups(rows) {
            let arguments = self.arguments(group, &bind)?;
            let query = sqlx::query_with(AssertSqlSafe(self.text(power)), arguments);
            returned.append(&mut query.fetch_all(&mut *connection).await?);
        }
        Ok(returned)
    }

    /// Runs it over all rows, and gives how many rows of the table it touched.
    pub async fn execute<R: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[R],
        bind: impl for<'a, 'r> Fn(&'a R, &'r mut Row) -> &'r mut Row + Send + Sync,
    ) -> Result<u64, sqlx::Error> {
        let mut touched = 0;
        for (power, group) in groups(rows) {
            let arguments = self.arguments(group, &bind)?;
            let query = sqlx::query_with(AssertSqlSafe(self.text(power)), arguments);
            touched += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(touched)
    }

    fn arguments<R>(
        &self,
        group: &[R],
        bind: impl for<'a, 'r> Fn(&'a R, &'r mut Row) -> &'r mut Row,
    ) -> Result<SqliteArguments, sqlx::Error> {
        let mut row = Row { arguments: SqliteArguments::default(), failed: None };
        row.arguments.reserve(group.len() * self.columns, 0);
        for item in group {
            bind(item, &mut row);
        }
        debug_assert_eq!(row.arguments.len(), group.len() * self.columns, "{}", self.head);
        match row.failed {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok(row.arguments),
        }
    }
}

/// Takes the values of a row in order.
pub(super) struct Row {
    arguments: SqliteArguments,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Row {
    pub fn add<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(error);
        }
        self
    }

    /// Counters are unsigned, columns are not.
    pub fn count(&mut self, value: u64) -> &mut Self {
        self.add(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// Parts rows into groups of 2^n.
fn groups<R>(mut rows: &[R]) -> impl Iterator<Item = (usize, &[R])> {
    std::iter::from_fn(move || {
        let power = (rows.len().checked_ilog2()? as usize).min(LARGEST);
        let (group, rest) = rows.split_at(1 << power);
        rows = rest;
        Some((power, group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_all_rows_in_order() {
        for len in [0, 1, 2, 3, 50, 127, 128, 129, 1000] {
            let rows: Vec<usize> = (0..len).collect();
            let joined: Vec<usize> = groups(&rows)
                .flat_map(|(power, group)| {
                    assert_eq!(group.len(), 1 << power);
                    group.to_vec()
                })
                .collect();
            assert_eq!(joined, rows);
        }
    }
}
