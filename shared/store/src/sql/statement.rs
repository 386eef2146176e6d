//! SQL text with its arguments, and rows with their columns, in the part of SQL that SQLite and PostgreSQL share.

use std::fmt::Write;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::{Limits, StoreError};

/// An argument of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
}

/// A statement that grows. Values go in as arguments, never as text (but for numbers, where asked to).
#[derive(Clone, Debug, Default)]
pub(crate) struct Sql {
    pub text: String,
    pub args: Vec<Arg>,
}

impl Sql {
    pub fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), args: Vec::new() }
    }

    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Pushes a placeholder for the argument. Both backends know `$n`.
    pub fn arg(&mut self, arg: Arg) -> &mut Self {
        self.args.push(arg);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "${}", self.args.len());
        self
    }

    pub fn int(&mut self, value: i64) -> &mut Self {
        self.arg(Arg::Int(value))
    }

    /// A number as text, where the backend is to plan for this very number.
    pub fn literal(&mut self, value: i64) -> &mut Self {
        // In parentheses: a minus sign after another would begin a comment.
        let _ = write!(self.text, "({value})");
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.arg(Arg::Text(value.to_owned()))
    }

    pub fn id(&mut self, value: Uuid) -> &mut Self {
        self.arg(Arg::Id(value))
    }

    /// `($n, $m, …)`.
    pub fn list(&mut self, args: impl IntoIterator<Item = Arg>) -> &mut Self {
        for (index, arg) in args.into_iter().enumerate() {
            self.push(if index == 0 { "(" } else { ", " }).arg(arg);
        }
        self.push(")")
    }
}

/// A row, by column number. All numbers are 64 bit.
pub(crate) trait Columns {
    fn int(&self, column: usize) -> Result<i64, sqlx::Error>;
    fn int_opt(&self, column: usize) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: usize) -> Result<String, sqlx::Error>;
    fn text_opt(&self, column: usize) -> Result<Option<String>, sqlx::Error>;
    fn bytes(&self, column: usize) -> Result<&[u8], sqlx::Error>;
    fn bytes_opt(&self, column: usize) -> Result<Option<&[u8]>, sqlx::Error>;
    fn id(&self, column: usize) -> Result<Uuid, sqlx::Error>;
    fn id_opt(&self, column: usize) -> Result<Option<Uuid>, sqlx::Error>;

    /// A number that is never negative.
    fn count(&self, column: usize) -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(self.int(column)?).unwrap_or(0))
    }
}

macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn int(&self, column: usize) -> Result<i64, sqlx::Error> {
                self.try_get(column)
            }
            fn int_opt(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(column)
            }
            fn text(&self, column: usize) -> Result<String, sqlx::Error> {
                self.try_get(column)
            }
            fn text_opt(&self, column: usize) -> Result<Option<String>, sqlx::Error> {
                self.try_get(column)
            }
            fn bytes(&self, column: usize) -> Result<&[u8], sqlx::Error> {
                self.try_get(column)
            }
            fn bytes_opt(&self, column: usize) -> Result<Option<&[u8]>, sqlx::Error> {
                self.try_get(column)
            }
            fn id(&self, column: usize) -> Result<Uuid, sqlx::Error> {
                self.try_get(column)
            }
            fn id_opt(&self, column: usize) -> Result<Option<Uuid>, sqlx::Error> {
                self.try_get(column)
            }
        }
    };
}
columns!(SqliteRow);
columns!(PgRow);

/// Stored bytes that cannot be read: the caller's error mapping makes it [`crate::StoreErrorKind::Corrupt`].
pub(crate) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// What the shared reading code needs of a backend.
#[async_trait]
pub(crate) trait Reading: Send + Sync {
    type Row: Columns + Send + Sync;

    /// Runs a statement and gives all its rows.
    async fn fetch(&self, context: &'static str, sql: Sql) -> Result<Vec<Self::Row>, StoreError>;
    /// Makes an error of this backend's.
    fn error(&self, context: &'static str, error: sqlx::Error) -> StoreError;
    /// `position of $needle in column`, from 1, or 0.
    fn position(&self, column: &str, needle: Uuid, sql: &mut Sql);
    fn limits(&self) -> &Limits;
    /// Idle time after which a trace counts as ended, where the question brings none.
    fn trace_idle_us(&self) -> i64;
}
