//! Numbered, append-only migrations, and which schemas this build works with.
//!
//! Expand first, contract a release later. A migration that only adds leaves the builds before it to read and write on. One that
//! takes something away says so in the table `schema_compatibility`: since which version builds can still read, and since which write.
//! So a build can tell of a schema newer than itself whether it may work with it, and neither an upgrade nor the way back over an
//! expanding migration needs everything to stop.

use crate::{StoreError, StoreErrorKind};

/// One step. Never changed once released: databases remember its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub version: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

/// The oldest schema version that this build can read, for a query service that is newer than the writers. It can write the newest
/// alone, which writers see to themselves.
const OLDEST_READABLE: i64 = 4;

/// What a migration found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Versions applied, in order.
    pub applied: Vec<i64>,
    /// The schema's version now.
    pub schema: i64,
    /// The schema's version of this build: less than `schema` when a newer build has migrated the database, in a way that this one can
    /// work with.
    pub build: i64,
}

/// What a database says of its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    /// 0 when there is none.
    pub version: i64,
    /// The oldest version whose builds can read it.
    pub readable_from: i64,
    /// The oldest version whose builds can write it.
    pub writable_from: i64,
}

impl Schema {
    /// The question whose one row is a schema, by which of the two tables there are; none when there is no schema. Builds before
    /// `schema_compatibility` worked with their own version alone.
    pub fn question(has_migrations: bool, has_compatibility: bool) -> Option<&'static str> {
        match (has_migrations, has_compatibility) {
            (false, _) => None,
            (true, false) => {
                Some("SELECT v, v, v FROM (SELECT coalesce(max(version), 0) AS v FROM schema_migrations) AS applied")
            }
            (true, true) => Some(
                "SELECT coalesce((SELECT max(version) FROM schema_migrations), 0), readable_from, writable_from \
                 FROM schema_compatibility",
            ),
        }
    }
}

impl From<(i64, i64, i64)> for Schema {
    fn from((version, readable_from, writable_from): (i64, i64, i64)) -> Self {
        Self { version, readable_from, writable_from }
    }
}

/// The schema version of this build.
fn newest(all: &[Migration]) -> i64 {
    all.last().map_or(0, |migration| migration.version)
}

/// Whether a reader can work with a schema.
pub(crate) fn check_readable(all: &[Migration], found: Schema) -> Result<(), StoreError> {
    check_readable_from(OLDEST_READABLE, all, found)
}

fn check_readable_from(oldest: i64, all: &[Migration], found: Schema) -> Result<(), StoreError> {
    let (version, build) = (found.version, newest(all));
    let reason = if version == 0 {
        "there is no schema yet: start a writer or run its migrate command".to_owned()
    } else if version < oldest {
        format!(
            "the schema has version {version}, and this build reads {oldest} to {build}: run its writer's migrate command"
        )
    } else if version > build && found.readable_from > build {
        too_new("read", version, found.readable_from, build)
    } else {
        return Ok(());
    };
    Err(refused(reason))
}

/// The steps a writer still has to apply; none for a newer schema that this build can write; an error for one that it cannot.
pub(crate) fn pending(all: &'static [Migration], found: Schema) -> Result<&'static [Migration], StoreError> {
    let build = newest(all);
    if found.version > build && found.writable_from > build {
        return Err(refused(too_new("write", found.version, found.writable_from, build)));
    }
    let applied = all.iter().take_while(|migration| migration.version <= found.version).count();
    Ok(&all[applied..])
}

/// What [`pending`] and applying it come to.
pub(crate) fn migrated(all: &[Migration], found: Schema, applied: Vec<i64>) -> Migrated {
    let build = newest(all);
    if found.version > build {
        let schema = found.version;
        tracing::info!(schema, build, "a newer build has migrated the database; this one works with it");
    }
    Migrated { schema: applied.last().copied().unwrap_or(found.version), applied, build }
}

fn too_new(what: &str, version: i64, from: i64, build: i64) -> String {
    format!(
        "the schema has version {version}, which builds of version {from} and newer can {what}; this build has version {build}: \
         use a newer one"
    )
}

fn refused(reason: String) -> StoreError {
    StoreError::new(StoreErrorKind::Schema, "checking the schema version", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Migration] = &[
        Migration { version: 1, name: "a", sql: "" },
        Migration { version: 2, name: "b", sql: "" },
        Migration { version: 3, name: "c", sql: "" },
    ];

    fn schema(version: i64, readable_from: i64, writable_from: i64) -> Schema {
        Schema { version, readable_from, writable_from }
    }

    fn versions(found: Schema) -> Option<Vec<i64>> {
        pending(ALL, found).ok().map(|steps| steps.iter().map(|step| step.version).collect())
    }

    #[test]
    fn older_schemas_are_migrated_and_newer_ones_left_alone() {
        assert_eq!(versions(Schema::default()), Some(vec![1, 2, 3]));
        assert_eq!(versions(schema(2, 2, 2)), Some(vec![3]));
        assert_eq!(versions(schema(3, 3, 3)), Some(Vec::new()));
        assert_eq!(versions(schema(9, 3, 3)), Some(Vec::new()), "only expanded since");
        assert_eq!(versions(schema(9, 3, 4)), None, "contracted");
    }

    #[test]
    fn readers_accept_what_they_know_and_what_was_only_expanded() {
        let reads = |found| check_readable_from(2, ALL, found).is_ok();
        assert!(!reads(Schema::default()));
        assert!(!reads(schema(1, 1, 1)));
        assert!(reads(schema(2, 2, 2)) && reads(schema(3, 3, 3)));
        assert!(reads(schema(9, 3, 4)), "a reader does not mind what writers mind");
        assert!(!reads(schema(9, 4, 4)));
    }

    #[test]
    fn a_refusal_names_the_schema_and_the_build() {
        for error in [
            check_readable_from(2, ALL, schema(9, 7, 8)).expect_err("refused"),
            pending(ALL, schema(9, 7, 8)).expect_err("refused"),
        ] {
            assert_eq!(error.kind, StoreErrorKind::Schema);
            assert!(error.reason.contains("has version 9") && error.reason.contains("build has version 3"), "{error}");
        }
    }
}
