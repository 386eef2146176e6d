//! SQLSTATE as kinds. The codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use crate::{StoreError, StoreErrorKind};

pub(super) fn store_error(context: &'static str, error: sqlx::Error) -> StoreError {
    let reason = error.to_string();
    StoreError { kind: kind_of(&error), context, reason, source: Some(Box::new(error)) }
}

pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Serialisation failure, deadlock, lock timeout: the same transaction may pass the next time.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

/// A row for which there is no partition: a check violation without a constraint's name.
pub(super) fn is_missing_partition(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    sqlstate(error).as_deref() == Some("23514") && constraint.is_none()
}

/// A table that is not there.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("42P01")
}

fn kind_of(error: &sqlx::Error) -> StoreErrorKind {
    let Some(code) = sqlstate(error) else {
        return match error {
            sqlx::Error::Encode(_) => StoreErrorKind::Rejected,
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Unavailable,
        };
    };
    match code.as_str() {
        "53100" => StoreErrorKind::Full,
        "XX001" | "XX002" => StoreErrorKind::Corrupt,
        _ if is_missing_partition(error) => StoreErrorKind::Unavailable,
        // Data exceptions, integrity violations, program limits (an index row too long): these bytes never go in.
        code if ["22", "23", "54"].contains(&code.get(..2).unwrap_or_default()) => StoreErrorKind::Rejected,
        // Undefined tables and columns, wrong types; but a missing privilege can be granted.
        "42501" => StoreErrorKind::Unavailable,
        code if code.starts_with("42") => StoreErrorKind::Schema,
        _ => StoreErrorKind::Unavailable,
    }
}
