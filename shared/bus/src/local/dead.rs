//! Dead letters of the local bus: an append-only file, or memory when no folder is given.
//!
//! Guarantee: an append that returned is on the disk (fsync) and readable after a restart; a record torn by a crash is cut off
//! when the file is opened. Bounded in bytes: what is over is refused with a reason, what is kept stays.
//!
//! A record: `RFD1`, when (i64, µs since the epoch), length of reason and of message (u32 each), FNV-1a of all that follows the
//! magic but this field (u32), reason, message. Numbers are little endian.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::DeadLetter;
use crate::error::{BusError, BusErrorKind};

const FILE_NAME: &str = "dead-letters.bin";
const MAGIC: [u8; 4] = *b"RFD1";
const HEAD: usize = 24;

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
    let visit = |letter| {
        newest.push_front(letter);
        newest.truncate(limit);
        count += 1;
    };
    scan(file, visit)?;
    Ok((newest.into(), count))
}

fn open_file(folder: &Path) -> io::Result<State> {
    fs::create_dir_all(folder)?;
    let path = folder.join(FILE_NAME);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let mut count = 0;
    let valid = scan(&mut file, |_| count += 1)?;
    let length = file.metadata()?.len();
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

/// Reads records from the start until the first that is not whole; how many bytes were.
fn scan(file: &mut File, mut visit: impl FnMut(DeadLetter)) -> io::Result<u64> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut valid = 0;
    while let Some((letter, size)) = read_record(&mut reader, length - valid)? {
        visit(letter);
        valid += size;
    }
    Ok(valid)
}

fn read_record(reader: &mut impl Read, left: u64) -> io::Result<Option<(DeadLetter, u64)>> {
    if left < HEAD as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD];
    reader.read_exact(&mut head)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (reason_len, message_len, sum) = (number(12) as usize, number(16) as usize, number(20));
    let body_len = reason_len as u64 + message_len as u64;
    if head[..4] != MAGIC || left - (HEAD as u64) < body_len {
        return Ok(None);
    }
    let mut reason = vec![0; reason_len];
    let mut message = vec![0; message_len];
    reader.read_exact(&mut reason)?;
    reader.read_exact(&mut message)?;
    if checksum(&[&head[4..20], &reason, &message]) != sum {
        return Ok(None);
    }
    let at_us = (u64::from(number(8)) << 32 | u64::from(number(4))) as i64;
    let reason = String::from_utf8_lossy(&reason).into_owned();
    Ok(Some((DeadLetter { reason, at_us, message: message.into() }, HEAD as u64 + body_len)))
}

fn encode(letter: &DeadLetter) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + letter.reason.len() + letter.message.len());
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&letter.at_us.to_le_bytes());
    record.extend_from_slice(&(letter.reason.len() as u32).to_le_bytes());
    record.extend_from_slice(&(letter.message.len() as u32).to_le_bytes());
    let sum = checksum(&[&record[4..20], letter.reason.as_bytes(), &letter.message]);
    record.extend_from_slice(&sum.to_le_bytes());
    record.extend_from_slice(letter.reason.as_bytes());
    record.extend_from_slice(&letter.message);
    record
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
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
}
