//! Dead letters of the local bus: an append-only file, or memory when no folder is given.
//!
//! Guarantee: an append that returned is on the disk (fsync) and readable after a restart; a record torn by a crash is cut off
//! when the file is opened. One that the disk has damaged is told and skipped; it stays where it is, and so do all others.
//! Bounded in bytes: what is over is refused with a reason, what is kept stays.

mod records;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use records::{Found, Records, encode};

use crate::DeadLetter;
use crate::error::{BusError, BusErrorKind};

const FILE_NAME: &str = "dead-letters.bin";

#[derive(Clone)]
pub(super) struct DeadLetters {
    state: Arc<Mutex<State>>,
    max_bytes: u64,
}

struct State {
    kept: Kept,
    bytes: u64,
    count: u64,
}

enum Kept {
    Memory(VecDeque<DeadLetter>),
    File(File),
}

impl DeadLetters {
    pub(super) async fn open(folder: Option<PathBuf>, max_bytes: u64) -> Result<Self, BusError> {
        let state = match folder {
            None => State { kept: Kept::Memory(VecDeque::new()), bytes: 0, count: 0 },
            Some(folder) => {
                let opened = blocking(move || open_file(&folder).map_err(|error| (folder, error))).await?;
                opened.map_err(|(folder, error)| {
                    let reason = format!("folder {} cannot be used: {error}", folder.display());
                    BusError::new(BusErrorKind::Setup, "open dead letters", reason)
                })?
            }
        };
        Ok(Self { state: Arc::new(Mutex::new(state)), max_bytes })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    pub(super) async fn append(&self, message: Bytes, reason: &str) -> Result<(), BusError> {
        let letter = DeadLetter { reason: reason.to_owned(), at_us: now_us(), message };
        let this = self.clone();
        blocking(move || this.append_now(letter)).await?
    }

    fn append_now(&self, letter: DeadLetter) -> Result<(), BusError> {
        let record = encode(&letter);
        let mut state = self.lock();
        let after = state.bytes + record.len() as u64;
        if after > self.max_bytes {
            let reason = format!("{} bytes of dead letters are kept, the limit is {}", state.bytes, self.max_bytes);
            return Err(BusError::new(BusErrorKind::Full, "dead letter", reason));
        }
        let end = state.bytes;
        match &mut state.kept {
            Kept::Memory(letters) => letters.push_back(letter),
            Kept::File(file) => append_record(file, end, &record).map_err(|error| io_error("dead letter", &error))?,
        }
        state.bytes = after;
        state.count += 1;
        Ok(())
    }

    pub(super) async fn newest(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        let this = self.clone();
        blocking(move || this.newest_now(limit)).await?
    }

    fn newest_now(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        let mut state = self.lock();
        match &mut state.kept {
            Kept::Memory(letters) => Ok(letters.iter().rev().take(limit).cloned().collect()),
            Kept::File(file) => Ok(newest_of(file, limit).map_err(|error| io_error("read dead letters", &error))?.0),
        }
    }
}

/// The newest letters in a folder and how many there are, whether or not a bus is at work there: nothing is made, mended or
/// locked, and a letter that is just being written is not there yet.
pub(super) async fn read(folder: PathBuf, limit: usize) -> Result<(Vec<DeadLetter>, u64), BusError> {
    let found = move || match File::open(folder.join(FILE_NAME)) {
        Ok(mut file) => newest_of(&mut file, limit),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(error) => Err(error),
    };
    blocking(found).await?.map_err(|error| io_error("read dead letters", &error))
}

/// The newest letters, newest first, and how many there are.
fn newest_of(file: &mut File, limit: usize) -> io::Result<(Vec<DeadLetter>, u64)> {
    let (mut newest, mut count) = (VecDeque::new(), 0);
    for letter in letters(&mut records(file)?) {
        newest.push_front(letter);
        newest.truncate(limit);
        count += 1;
    }
    Ok((newest.into(), count))
}

/// The whole file is read: it is bounded, and small unless much has gone wrong.
fn records(file: &mut File) -> io::Result<Records> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(Records::of(bytes.into()))
}

/// The letters that can be read.
fn letters(records: &mut Records) -> impl Iterator<Item = DeadLetter> {
    records.filter_map(|found| match found {
        Found::Letter(letter) => Some(letter),
        Found::Damaged { at, bytes } => {
            tracing::error!(file = FILE_NAME, at, bytes, "damaged dead letter is skipped, the others are kept");
            None
        }
    })
}

fn open_file(folder: &Path) -> io::Result<State> {
    fs::create_dir_all(folder)?;
    let path = folder.join(FILE_NAME);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let mut records = records(&mut file)?;
    let count = letters(&mut records).count() as u64;
    let (valid, length) = (records.at() as u64, file.metadata()?.len());
    if valid < length {
        tracing::warn!(file = %path.display(), valid, length, "cutting off a torn dead letter");
        file.set_len(valid)?;
    }
    file.sync_all()?;
    // The name of a new file is durable only once its folder is.
    File::open(folder)?.sync_all()?;
    Ok(State { kept: Kept::File(file), bytes: valid, count })
}

fn append_record(file: &mut File, end: u64, record: &[u8]) -> io::Result<()> {
    let written = file.seek(SeekFrom::Start(end)).and_then(|_| file.write_all(record)).and_then(|()| file.sync_data());
    if written.is_err() {
        // Whatever part of it got there must not precede the next one.
        let _ = file.set_len(end);
    }
    written
}

pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

fn io_error(context: &'static str, error: &io::Error) -> BusError {
    BusError::new(BusErrorKind::Unavailable, context, format!("dead-letter file: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BusError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        BusError::new(BusErrorKind::Unavailable, "dead letters", format!("file task ended early: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn torn_record_is_cut_off_and_the_rest_is_kept() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let open = || DeadLetters::open(Some(folder.path().to_owned()), 10_000);
        let letters = open().await?;
        letters.append(Bytes::from_static(b"one"), "first").await?;
        letters.append(Bytes::from_static(b"two"), "second").await?;
        drop(letters);
        let path = folder.path().join(FILE_NAME);
        let whole = fs::read(&path)?;
        fs::write(&path, [&whole[..], &whole[..30]].concat())?;

        let (found, count) = read(folder.path().to_owned(), 1).await?;
        assert_eq!((found[0].reason.as_str(), count), ("second", 2));
        assert_eq!(fs::read(&path)?.len(), whole.len() + 30, "who only reads mends nothing");
        let letters = open().await?;
        assert_eq!(letters.count(), 2);
        letters.append(Bytes::from_static(b"three"), "third").await?;
        let reasons: Vec<_> = letters.newest(2).await?.into_iter().map(|letter| letter.reason).collect();
        assert_eq!(reasons, ["third", "second"]);
        assert_eq!(open().await?.count(), 3);
        let (none, count) = read(folder.path().join("elsewhere"), 10).await?;
        assert!(none.is_empty() && count == 0 && !folder.path().join("elsewhere").exists());
        Ok(())
    }

    #[tokio::test]
    async fn a_damaged_record_is_skipped_and_all_others_stay() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(FILE_NAME);
        let open = || DeadLetters::open(Some(folder.path().to_owned()), 10_000);
        let letters = open().await?;
        let mut ends = Vec::new();
        for reason in ["first", "second", "third"] {
            letters.append(Bytes::from_static(b"message"), reason).await?;
            ends.push(fs::metadata(&path)?.len() as usize);
        }
        drop(letters);
        let mut damaged = fs::read(&path)?;
        damaged[ends[1] - 1] ^= 1;
        fs::write(&path, &damaged)?;

        let letters = open().await?;
        assert_eq!(letters.count(), 2);
        assert_eq!(fs::read(&path)?, damaged, "nothing is cut off");
        letters.append(Bytes::from_static(b"message"), "fourth").await?;
        let reasons = |letters: Vec<DeadLetter>| letters.into_iter().map(|letter| letter.reason).collect::<Vec<_>>();
        assert_eq!(reasons(letters.newest(9).await?), ["fourth", "third", "first"]);
        let (found, count) = read(folder.path().to_owned(), 9).await?;
        assert_eq!((reasons(found), count), (vec!["fourth".into(), "third".into(), "first".into()], 3));
        assert_eq!(open().await?.count(), 3);
        Ok(())
    }
}
