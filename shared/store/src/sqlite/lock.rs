//! The lock file: one writer a database.
//!
//! SQLite itself would let two writers take turns; but they would hold up each other's commits, and both would believe that nobody
//! else compacts. The lock is the operating system's: it goes with the process, however that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{StoreError, StoreErrorKind};

const CONTEXT: &str = "locking the database";

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock or says who holds it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| {
            let reason = format!("{}: {error}", path.display());
            StoreError {
                source: Some(Box::new(error)),
                ..StoreError::new(StoreErrorKind::Unavailable, CONTEXT, reason)
            }
        };
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
