//! Numbered, append-only migrations and which schema versions this build works with.
//!
//! Expand first, contract a release later: a migration only adds what the build before does not mind, so that query services of the
//! build before go on reading while writers of this build have migrated.

use std::ops::RangeInclusive;

use crate::{StoreError, StoreErrorKind};

/// One step. Never changed once released: databases remember its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub version: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

/// Schema versions that this build can read.
pub(crate) const READABLE: RangeInclusive<i64> = 2..=2;

/// Whether a reader can work with a schema of this version; 0 is none at all.
pub(crate) fn check_readable(found: i64) -> Result<(), StoreError> {
    let (oldest, newest) = READABLE.into_inner();
    let reason = match found {
        0 => "there is no schema yet: start a writer or run its migrate command".to_owned(),
        found if found < oldest => {
            format!(
                "schema version {found} is older than {oldest}, the oldest this build reads: run the writer's migrate command"
            )
        }
        found if found > newest => {
            format!("schema version {found} is newer than {newest}, the newest this build reads: use a newer build")
        }
        _ => return Ok(()),
    };
    Err(StoreError::new(StoreErrorKind::Schema, "checking the schema version", reason))
}

/// The steps a writer still has to apply; an error when the schema is newer than this build.
pub(crate) fn pending(all: &'static [Migration], found: i64) -> Result<&'static [Migration], StoreError> {
    let newest = all.last().map_or(0, |migration| migration.version);
    if found > newest {
        let reason =
            format!("schema version {found} is newer than {newest}, the newest this build writes: use a newer build");
        return Err(StoreError::new(StoreErrorKind::Schema, "checking the schema version", reason));
    }
    let applied = all.iter().take_while(|migration| migration.version <= found).count();
    Ok(&all[applied..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_refuse_what_they_do_not_know() {
        assert!(check_readable(*READABLE.end()).is_ok());
        for version in [0, READABLE.end() + 1] {
            assert_eq!(check_readable(version).expect_err("refused").kind, StoreErrorKind::Schema);
        }
    }
}
