//! SQLite's result codes as kinds. The codes: <https://www.sqlite.org/rescode.html>.

use crate::{StoreError, StoreErrorKind};

const ERROR: i32 = 1;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const SCHEMA: i32 = 17;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const RANGE: i32 = 25;
const NOT_A_DATABASE: i32 = 26;
/// The shared-memory file cannot grow: a full disk by another name.
const IOERR_SHMSIZE: i32 = 10 | (19 << 8);

pub(super) fn store_error(context: &'static str, error: sqlx::Error) -> StoreError {
    let reason = error.to_string();
    StoreError { kind: kind_of(&error), context, reason, source: Some(Box::new(error)) }
}

fn kind_of(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Database(database) => {
            let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(ERROR);
            match (code & 0xff, code) {
                (FULL, _) | (_, IOERR_SHMSIZE) => StoreErrorKind::Full,
                (CORRUPT | NOT_A_DATABASE, _) => StoreErrorKind::Corrupt,
                (TOO_BIG | CONSTRAINT | MISMATCH | RANGE, _) => StoreErrorKind::Rejected,
                (SCHEMA, _) => StoreErrorKind::Schema,
                (ERROR, _) if ["no such", "has no column"].iter().any(|text| database.message().contains(text)) => {
                    StoreErrorKind::Schema
                }
                _ => StoreErrorKind::Unavailable,
            }
        }
        sqlx::Error::Encode(_) => StoreErrorKind::Rejected,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions, Executor};

    use super::*;

    async fn kind_after(setup: &'static str, sql: &'static str) -> StoreErrorKind {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.expect("opens");
        connection.execute(setup).await.expect("is set up");
        store_error("testing", connection.execute(sql).await.expect_err("fails")).kind
    }

    #[tokio::test]
    async fn result_codes_become_kinds() {
        let small = "PRAGMA max_page_count = 3; CREATE TABLE t (b BLOB CHECK (octet_length(b) <> 7))";
        assert_eq!(kind_after(small, "INSERT INTO t VALUES (zeroblob(100000))").await, StoreErrorKind::Full);
        assert_eq!(kind_after(small, "INSERT INTO t VALUES (zeroblob(7))").await, StoreErrorKind::Rejected);
        assert_eq!(kind_after(small, "INSERT INTO u VALUES (1)").await, StoreErrorKind::Schema);
        assert_eq!(kind_after(small, "INSERT INTO t (c) VALUES (1)").await, StoreErrorKind::Schema);
        assert_eq!(kind_after("SELECT 1", "SELECT zeroblob(2000000000)").await, StoreErrorKind::Rejected);
    }
}
