//! What only a file can do: be locked, be missing, be copied in the middle of everything.

use std::fs;
use std::path::Path;

use reflow_tracing_store::{SqliteOptions, SqliteStore, StoreErrorKind, StoreReader, StoreWriter};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};

use crate::support::*;

async fn open(options: &SqliteOptions) -> SqliteStore {
    SqliteStore::open_writer(options).await.expect("opens")
}

/// A connection beside the store's.
async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("connects")
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_why() {
    let db = Sqlite::new();
    let first = open(&db.options()).await;
    let error = SqliteStore::open_writer(&db.options()).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Locked);
    assert!(error.reason.contains(&std::process::id().to_string()), "{error}");
    assert!(!error.is_retryable());
    first.close().await;
    open(&db.options()).await;
}

/// Whichever of them comes first, and whether the database is there yet or not.
#[cfg(unix)]
#[tokio::test]
async fn a_second_writer_over_a_link_is_refused() {
    let db = Sqlite::new();
    let path = db.options().path;
    let folder = path.parent().expect("a folder");
    fs::create_dir_all(folder).expect("made");
    let link = SqliteOptions { path: folder.with_file_name("link.db"), ..db.options() };
    std::os::unix::fs::symlink(&path, &link.path).expect("linked");
    for (one, other) in [(&link, &db.options()), (&db.options(), &link)] {
        let first = open(one).await;
        let error = SqliteStore::open_writer(other).await.expect_err("refused");
        assert_eq!(error.kind, StoreErrorKind::Locked, "{error}");
        commit(&first, &[chunk(1, 11, T0, 1)], T0).await;
        first.close().await;
    }
}

#[tokio::test]
async fn a_reader_never_creates_anything() {
    let db = Sqlite::new();
    let error = SqliteStore::open_reader(&db.options()).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(!db.options().path.parent().expect("a folder").exists());
    fs::create_dir_all(db.options().path.parent().expect("a folder")).expect("made");
    fs::write(db.options().path, b"").expect("written");
    let error = SqliteStore::open_reader(&db.options()).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Schema);
}

#[tokio::test]
async fn a_reader_sees_commits_and_never_holds_them_up() {
    let db = Sqlite::new();
    let store = open(&db.options()).await;
    let reader = SqliteStore::open_reader(&db.options()).await.expect("opens");
    // A reader that stays in the middle of reading.
    let mut slow = beside(&db.options().path).await;
    slow.execute("BEGIN; SELECT count(*) FROM traces").await.expect("reads");
    for n in 0..50 {
        commit(&store, &[chunk(n, n, T0, 1)], T0).await;
        let total = reader.query(&filter(), &first(0), T0).await.expect("answers").total;
        assert_eq!(total, n as u64 + 1);
    }
    slow.execute("INSERT INTO seen VALUES (x'00', 1)").await.expect_err("its view is old");
}

#[tokio::test]
async fn what_was_committed_survives_the_death_of_the_process() {
    let db = Sqlite::new();
    let store = open(&db.options()).await;
    let copied = Sqlite::new();
    fs::create_dir_all(copied.options().path.parent().expect("a folder")).expect("made");
    for n in 0..20 {
        commit(&store, &[chunk(n % 3, n, T0, 2)], T0).await;
    }
    // The files as a killed process leaves them; the log is not in the database yet.
    for suffix in ["", "-wal"] {
        let name = |options: SqliteOptions| format!("{}{suffix}", options.path.display());
        fs::copy(name(db.options()), name(copied.options())).expect("copied");
    }
    let again = open(&copied.options()).await;
    let stats = again.stats().await.expect("answers");
    assert_eq!((stats.traces, stats.events), (3, 40));
    assert_eq!(commit(&again, &[chunk(1, 19, T0, 2)], T0).await.stored, 0);
    assert_eq!(commit(&again, &[chunk(1, 20, T0, 2)], T0).await.stored, 1);
}

#[tokio::test]
async fn a_refused_chunk_takes_its_batch_with_it_and_nothing_else() {
    let db = Sqlite::new();
    let store = open(&db.options()).await;
    let trigger =
        "CREATE TRIGGER refuse BEFORE INSERT ON rollups WHEN NEW.events = 666 BEGIN SELECT RAISE(ABORT, 'no'); END";
    beside(&db.options().path).await.execute(trigger).await.expect("made");
    let bad = chunk(2, 12, T0, 666);
    let error = store.commit(&[chunk(1, 11, T0, 1).flow("f", "f"), bad], T0).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Rejected);
    assert_eq!(store.stats().await.expect("answers").traces, 0, "all or nothing");
    assert_eq!(rows(&store, "seen").await, 0);
    assert_eq!(commit(&store, &[chunk(1, 11, T0, 1)], T0).await.stored, 1);
}

#[tokio::test]
async fn a_commit_that_is_given_up_leaves_the_next_one_alone() {
    let db = Sqlite::new();
    let store = open(&db.options()).await;
    let many: Vec<_> = (0..5000_u128).map(|n| chunk(n, 1000 + n, T0, 1)).collect();
    for _ in 0..10 {
        let given_up = std::time::Duration::from_millis(2);
        tokio::time::timeout(given_up, store.commit(&many, T0)).await.ok();
        commit(&store, &[chunk(1, 11, T0, 1)], T0).await;
    }
    commit(&store, &many, T0).await;
    let stats = store.stats().await.expect("answers");
    assert_eq!((stats.traces, stats.events), (5000, 5001));
}

#[tokio::test]
async fn journals_and_sync_modes_are_as_asked_for() {
    use reflow_tracing_store::{SqliteJournalMode, SqliteSynchronous};
    let db = Sqlite::new();
    let options = SqliteOptions {
        journal_mode: SqliteJournalMode::Delete,
        synchronous: SqliteSynchronous::Normal,
        ..db.options()
    };
    let store = open(&options).await;
    commit(&store, &[chunk(1, 11, T0, 1)], T0).await;
    assert_eq!(summary(&store, 1, T0).await.event_count, 1);
    assert!(!options.path.with_extension("db-wal").exists());
    store.close().await;
    // The last connection takes the log away with it.
    let _open = open(&db.options()).await;
    assert!(options.path.with_extension("db-wal").exists());
}

/// The log is not in the file yet, and the writer goes on: a copy of the files would be of two moments.
#[tokio::test]
async fn a_backup_of_a_live_database_holds_every_commit_before_it() {
    let db = Sqlite::new();
    let store = open(&db.options()).await;
    for n in 0..20 {
        commit(&store, &[chunk(n, n, T0, 1)], T0).await;
    }
    let copy = db.options().path.with_file_name("copy.db");
    // What was cut off before is no obstacle.
    fs::write(copy.with_file_name("copy.db.partial"), b"half a copy").expect("written");
    let bytes = SqliteStore::backup(&db.options(), &copy).await.expect("copies");
    assert_eq!(fs::metadata(&copy).expect("is there").len(), bytes);
    commit(&store, &[chunk(20, 20, T0, 1)], T0).await;

    let error = SqliteStore::backup(&db.options(), &copy).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Rejected);
    let restored = open(&SqliteOptions { path: copy, ..db.options() }).await;
    let total = async |store: &SqliteStore| store.query(&filter(), &first(0), T0).await.expect("answers").total;
    assert_eq!((total(&restored).await, total(&store).await), (20, 21));
    // What it remembers makes chunks that come again count once.
    let again = restored.commit(&[chunk(3, 3, T0, 1)], T0).await.expect("commits");
    assert_eq!((again.stored, again.duplicates), (0, 1));

    let missing = SqliteOptions { path: db.options().path.with_file_name("missing.db"), ..db.options() };
    let error = SqliteStore::backup(&missing, &db.options().path.with_file_name("b.db")).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
}
