//! The lock file: one writer a database.
//!
//! SQLite itself would let two writers take turns; but they would hold up each other's commits, and both would believe that nobody
//! else compacts. The lock is the operating system's: it goes with the process, however that ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::{StoreError, StoreErrorKind};

const CONTEXT: &str = "locking the database";

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of a database, or says who holds it.
    pub fn take(database: &Path) -> Result<Self, StoreError> {
        let path = &lock_path(database).map_err(|error| failed(database, error))?;
        let failed = |error| failed(path, error);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                let reason = format!(
                    "another writer (process {}) has the database open: it holds {}; a database has one writer",
                    if holder.trim().is_empty() { "unknown" } else { holder.trim() },
                    path.display()
                );
                return Err(StoreError::new(StoreErrorKind::Locked, CONTEXT, reason));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for the message above: a full disk must not keep a writer from starting.
        file.rewind().and_then(|()| file.set_len(0)).and_then(|()| writeln!(file, "{}", std::process::id())).ok();
        Ok(Self { _file: file })
    }
}

/// The lock file lies beside the database file itself, wherever the links lead that a writer was told.
fn lock_path(database: &Path) -> io::Result<PathBuf> {
    let found = database.canonicalize().or_else(|error| match error.kind() {
        // A link may lead to where the database is yet to be. Nobody has open what is not there: closing a file that SQLite has open in
        // this process would take its locks away.
        io::ErrorKind::NotFound => {
            File::options().create(true).append(true).open(database)?;
            database.canonicalize()
        }
        _ => Err(error),
    })?;
    let mut name = found.into_os_string();
    name.push(".lock");
    Ok(name.into())
}

fn failed(path: &Path, error: io::Error) -> StoreError {
    let reason = format!("{}: {error}", path.display());
    StoreError { source: Some(Box::new(error)), ..StoreError::new(StoreErrorKind::Unavailable, CONTEXT, reason) }
}
