//! A copy of a database while its writer writes.
//!
//! Guarantee: the copy is the database as it was at one moment, everything committed before the call included, and it has its
//! name only once it is whole and on disk. By `VACUUM INTO` and not by copying files: what is committed may still lie in the
//! log alone, and a copy of the two files is of two moments. The writer waits for nothing; its log grows until the copy is done.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;

use crate::sqlite::error::store_error;
use crate::sqlite::{SqliteOptions, SqliteReader};
use crate::{StoreError, StoreErrorKind};

const CONTEXT: &str = "copying the database";

/// Copies the database into a new file; its bytes.
pub(super) async fn backup(options: &SqliteOptions, to: &Path) -> Result<u64, StoreError> {
    if to.exists() {
        return Err(refused(format!("{} is there already, and is not written over", to.display())));
    }
    // Says what is wrong with the file before anything is copied.
    SqliteReader::open(options).await?.close().await;
    let partial = beside(to);
    let name = partial.to_str().ok_or_else(|| refused(format!("{} is no UTF-8", to.display())))?;
    // What a copy that was cut off has left.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&partial, &error)),
        _ => {}
    }
    let mut connection = options.for_reader().connect().await.map_err(|error| store_error(CONTEXT, error))?;
    sqlx::query("VACUUM INTO ?")
        .bind(name)
        .execute(&mut connection)
        .await
        .map_err(|error| store_error(CONTEXT, error))?;
    keep(&partial, to).map_err(|error| failed(to, &error))
}

fn keep(partial: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    fs::rename(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file.metadata()?.len())
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn refused(reason: String) -> StoreError {
    StoreError::new(StoreErrorKind::Rejected, CONTEXT, reason)
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, CONTEXT, format!("{}: {error}", path.display()))
}
