//! Two versions at one database: this build beside the next one, which is SQL in `tests/next`, and beside those before it.

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_store::{StoreErrorKind, StoreReader, TraceFilter};

use crate::support::*;

/// Stamps each case out for a backend that has a schema.
macro_rules! cases {
    ($fresh:expr) => {
        crate::upgrades::cases!($fresh;
            every_step_is_applied_once,
            this_build_goes_on_with_an_expanded_schema,
            this_build_refuses_a_contracted_schema_and_leaves_it_alone,
            every_older_schema_is_left_to_a_writer_and_then_read,
            traces_of_the_first_version_are_counted
        );
    };
    ($fresh:expr; $($case:ident),+) => {
        $(#[tokio::test]
        async fn $case() {
            crate::upgrades::$case(&$fresh).await;
        })+
    };
}
use cases;

mod sqlite {
    crate::upgrades::cases!(crate::support::Sqlite::new());
}

mod postgres {
    crate::upgrades::cases!(crate::support::Postgres::new().await);
}

async fn total(reader: &(impl StoreReader + ?Sized), flow: Option<&str>) -> u64 {
    let filter = TraceFilter { flow: flow.map(str::to_owned), ..filter() };
    reader.query(&filter, &first(0), T0).await.expect("answers").total
}

async fn every_step_is_applied_once(db: &impl Upgraded) {
    let migrated = db.migrate().await.expect("migrates");
    assert_eq!(migrated.applied, (1..=migrated.build).collect::<Vec<_>>());
    assert_eq!(migrated.schema, migrated.build);
    let again = db.migrate().await.expect("migrates");
    assert_eq!((again.applied.len(), again.schema, again.build), (0, migrated.build, migrated.build));
    db.reader().await.expect("reads this version");
}

/// What the next version adds stays true while this one writes, running and started anew, and this one reads what it wrote.
async fn this_build_goes_on_with_an_expanded_schema(db: &impl Upgraded) {
    let writer = db.writer().await.expect("opens");
    let reader = db.reader().await.expect("opens");
    // Every table has been written and read by both.
    let full = |trace: u128, number: u128| {
        let one = chunk(trace, number, T0, 3).flow("f_123456789", "f").versioned(1, None).client("c", 0, 0, 0);
        one.sent_as(&[7_000 + number])
    };
    commit(&*writer, &[full(1, 11), full(2, 12)], T0).await;
    assert_eq!(total(&*reader, Some("f")).await, 2);

    db.sql(db.expand()).await;
    commit(&*writer, &[full(1, 21), full(3, 22)], T0).await;
    commit(&*writer, &[full(2, 12)], T0).await;
    assert_eq!((total(&*reader, Some("f")).await, total(&*writer, None).await), (3, 3), "whoever runs goes on");
    drop((writer, reader));

    let migrated = db.migrate().await.expect("has nothing to do");
    assert_eq!((migrated.applied.len(), migrated.schema), (0, migrated.build + 1));
    let writer = db.writer().await.expect("starts again");
    let reader = db.reader().await.expect("starts again");
    commit(&*writer, &[full(1, 31).ended(T0, EndStatus::Completed, ""), full(4, 32)], T0).await;
    let doubles = [real_chunk(5, 51, T0, reflow_tracing_chunk::Origin::V1Session, &[(1, false), (1, true)])];
    commit(&*writer, &doubles, T0).await;
    let compacted = writer.compact(&compact_policy(T0 + HOUR), T0 + HOUR).await.expect("compacts");
    assert_eq!(compacted.duplicate_events, 1);
    assert_eq!(total(&*reader, Some("f")).await, 4);
    assert_eq!(reader.stats().await.expect("answers").events, 19);
    assert_eq!(find(&*writer, 7_031, T0).await.map(|trace| trace.event_count), Some(9));

    assert_eq!(db.number("SELECT CAST(events AS bigint) FROM next_totals").await, 19);
    assert_eq!(db.number("SELECT count(*) FROM traces WHERE next_weight <> 1 OR next_note IS NOT NULL").await, 0);
    assert_eq!(db.number("SELECT count(*) FROM chunks WHERE next_flags <> 7").await, 0);
    let removed = writer.retain(&keep(Some(HOUR), None), T0 + 3 * DAY).await.expect("retains");
    assert_eq!(removed.traces, 5);
}

async fn this_build_refuses_a_contracted_schema_and_leaves_it_alone(db: &impl Upgraded) {
    let writer = db.writer().await.expect("opens");
    commit(&*writer, &[chunk(1, 11, T0, 1)], T0).await;
    db.sql(db.expand()).await;
    db.sql(CONTRACT).await;
    let error = writer.commit(&[chunk(2, 12, T0, 1)], T0).await.expect_err("what it writes is gone");
    assert_eq!(error.kind, StoreErrorKind::Schema, "{error}: its chunks wait");
    drop(writer);

    let errors = [
        db.writer().await.err().expect("refused"),
        db.reader().await.err().expect("refused"),
        db.migrate().await.expect_err("refused"),
    ];
    let schema = db.number("SELECT max(version) FROM schema_migrations").await;
    for error in errors {
        assert_eq!(error.kind, StoreErrorKind::Schema);
        let named = [format!("schema has version {schema}"), format!("build has version {}", schema - 2)];
        assert!(named.iter().all(|text| error.reason.contains(text)), "{error}");
    }
    assert_eq!(db.number("SELECT count(*) FROM schema_migrations").await, schema);
    assert_eq!(db.number("SELECT count(*) FROM traces").await, 1);
}

/// A query service may be the first that is upgraded: it says what it waits for.
async fn every_older_schema_is_left_to_a_writer_and_then_read(db: &impl Upgraded) {
    let error = db.reader().await.err().expect("there is nothing yet");
    assert!([StoreErrorKind::Schema, StoreErrorKind::Unavailable].contains(&error.kind), "{error}");
    let writer = db.writer().await.expect("opens");
    commit(&*writer, &[chunk(1, 11, T0, 1).flow("f", "f")], T0).await;
    drop(writer);
    let build = db.migrate().await.expect("has nothing to do").build;
    for version in (1..build).rev() {
        db.back_to(version).await;
        let error = db.reader().await.err().expect("what it reads is not there");
        assert_eq!(error.kind, StoreErrorKind::Schema);
        let named = [format!("has version {version},"), "migrate".to_owned()];
        assert!(named.iter().all(|text| error.reason.contains(text)), "{error}");
        let migrated = db.migrate().await.expect("migrates");
        assert_eq!(migrated.applied, (version + 1..=build).collect::<Vec<_>>());
        assert_eq!(total(&*db.reader().await.expect("reads"), Some("f")).await, 1);
    }
}

async fn traces_of_the_first_version_are_counted(db: &impl Upgraded) {
    let writer = db.writer().await.expect("opens");
    commit(&*writer, &[chunk(1, 11, T0, 1).flow("f", "f"), chunk(2, 12, T0, 1)], T0).await;
    drop(writer);
    db.back_to(1).await;
    let writer = db.writer().await.expect("migrates");
    commit(&*writer, &[chunk(3, 13, T0, 1).flow("f", "f")], T0).await;
    assert_eq!((total(&*writer, None).await, total(&*writer, Some("f")).await), (3, 2));
}
