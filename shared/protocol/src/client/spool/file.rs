//! The spool's file.
//!
//! Layout: `RFSPOOL1`, then records (`records.rs`). A record that a crash cut off is cut away, one that is damaged is left out and told. With
//! nothing left to send the file is cut to its first 8 bytes; where most of a large file is crossed out, it is written anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::batch::{Body, Outgoing, What};
use super::records::{CROSSED_OUT, Found, HEAD_BYTES, IDS_BYTES, Records, events, sum, uuid};

const MAGIC: &[u8; 8] = b"RFSPOOL1";
/// Files below are not worth writing anew.
const SMALL_BYTES: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    max_bytes: u64,
    end: u64,
    /// What is not crossed out, and where its content lies.
    live: HashMap<Uuid, Place>,
    live_bytes: u64,
    damaged_events: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: u8,
    offset: u64,
    bytes: usize,
}

impl Spool {
    /// Opens or makes the file and gives what the last process has left in it, oldest first.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> io::Result<(Self, Vec<Outgoing>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock(&file)?;
        let mut magic = [0; MAGIC.len()];
        let length = file.metadata()?.len();
        if length < MAGIC.len() as u64 {
            file.set_len(0)?;
            file.write_all(MAGIC)?;
        } else {
            file.read_exact(&mut magic)?;
            if &magic != MAGIC {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is no spool of this client"));
            }
        }
        let mut spool = Self {
            file,
            path: path.to_owned(),
            max_bytes,
            end: MAGIC.len() as u64,
            live: HashMap::new(),
            live_bytes: 0,
            damaged_events: 0,
        };
        let left = spool.scan()?;
        Ok((spool, left))
    }

    /// Appends; false if there is no room.
    pub(crate) fn append(&mut self, outgoing: &Outgoing) -> io::Result<bool> {
        let frame: &[u8] = match &outgoing.body {
            Body::Frame(frame) => frame,
            Body::Text(text) => text.as_bytes(),
            Body::Spooled => return Ok(true),
        };
        let bytes = IDS_BYTES + frame.len();
        if self.end + (HEAD_BYTES + bytes) as u64 > self.max_bytes {
            self.tidy()?;
            if self.end + (HEAD_BYTES + bytes) as u64 > self.max_bytes {
                return Ok(false);
            }
        }
        let kind = match outgoing.what {
            What::Batch => 1,
            What::Start => 2,
            What::End => 3,
        };
        let mut content = Vec::with_capacity(bytes);
        content.extend_from_slice(outgoing.id.as_bytes());
        content.extend_from_slice(outgoing.trace_id.as_bytes());
        content.extend_from_slice(&outgoing.events.to_le_bytes());
        content.extend_from_slice(frame);
        let offset = self.write(kind, &content)?;
        self.live.insert(outgoing.id, Place { kind, offset, bytes });
        self.live_bytes += (HEAD_BYTES + bytes) as u64;
        Ok(true)
    }

    /// What goes over the wire.
    pub(crate) fn read(&mut self, outgoing: &Outgoing) -> io::Result<Body> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "not in the spool");
        let place = *self.live.get(&outgoing.id).ok_or_else(gone)?;
        let mut content = self.content(place)?;
        let frame = content.split_off(IDS_BYTES.min(content.len()));
        match outgoing.what {
            What::Batch => Ok(Body::Frame(frame.into())),
            What::Start | What::End => String::from_utf8(frame).map(Body::Text).map_err(io::Error::other),
        }
    }

    /// Crosses out what is acked, or given up.
    pub(crate) fn settle(&mut self, id: Uuid) -> io::Result<()> {
        let Some(place) = self.live.remove(&id) else { return Ok(()) };
        self.live_bytes -= (HEAD_BYTES + place.bytes) as u64;
        if self.live.is_empty() {
            self.end = MAGIC.len() as u64;
            return self.file.set_len(self.end);
        }
        self.write(CROSSED_OUT, id.as_bytes())?;
        if self.end > SMALL_BYTES && self.live_bytes < self.end / 4 {
            self.tidy()?;
        }
        Ok(())
    }

    /// Events in records that were found damaged, as far as can be told.
    pub(crate) fn damaged_events(&self) -> u64 {
        self.damaged_events
    }

    /// How large the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// One write, so that a crash leaves a record whole or cut off, and never one after a gap.
    fn write(&mut self, kind: u8, content: &[u8]) -> io::Result<u64> {
        let mut record = Vec::with_capacity(HEAD_BYTES + content.len());
        record.push(kind);
        record.extend_from_slice(&(content.len() as u32).to_le_bytes());
        record.extend_from_slice(&sum(content).to_le_bytes());
        record.extend_from_slice(content);
        self.file.seek(SeekFrom::Start(self.end))?;
        if let Err(error) = self.file.write_all(&record) {
            // What was written of it must not stand before the next.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        let offset = self.end + HEAD_BYTES as u64;
        self.end += record.len() as u64;
        Ok(offset)
    }

    fn content(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let mut content = vec![0; place.bytes];
        self.file.seek(SeekFrom::Start(place.offset))?;
        self.file.read_exact(&mut content)?;
        Ok(content)
    }

    /// Reads the whole file once.
    fn scan(&mut self) -> io::Result<Vec<Outgoing>> {
        let mut left: Vec<(Uuid, Option<Outgoing>)> = Vec::new();
        let mut places = HashMap::new();
        let (mut records, mut damaged) = (Records::from(&self.file, self.end)?, 0_u64);
        loop {
            let (kind, offset, content) = match records.next()? {
                Found::Record { kind, offset, content } => (kind, offset, content),
                Found::Damaged { events } => {
                    damaged += 1;
                    self.damaged_events += events;
                    continue;
                }
                Found::End => break,
            };
            let id = uuid(&content, 0);
            if kind == CROSSED_OUT {
                self.live.remove(&id);
                if let Some(place) = places.remove(&id) {
                    let entry: &mut (Uuid, Option<Outgoing>) = &mut left[place];
                    entry.1 = None;
                }
                continue;
            }
            let what = match kind {
                1 => What::Batch,
                2 => What::Start,
                _ => What::End,
            };
            let (trace_id, body) = (uuid(&content, 16), Body::Spooled);
            let events = events(&content);
            let outgoing = Outgoing { id, number: 0, trace_id, events, what, body, spooled: true, attempts: 0 };
            self.live.insert(id, Place { kind, offset, bytes: content.len() });
            places.insert(id, left.len());
            left.push((id, Some(outgoing)));
        }
        self.end = records.at();
        if self.file.metadata()?.len() > self.end {
            tracing::warn!(path = %self.path.display(), "the end of the spool was cut off by a crash and is left out");
            self.file.set_len(self.end)?;
        }
        self.live_bytes = self.live.values().map(|place| (HEAD_BYTES + place.bytes) as u64).sum();
        if damaged > 0 {
            let events = self.damaged_events;
            tracing::error!(path = %self.path.display(), damaged, events, "records of the spool are damaged and left out");
            // So that they are not told again at the next start.
            self.tidy()?;
        }
        Ok(left.into_iter().filter_map(|(_, outgoing)| outgoing).collect())
    }

    /// Writes what is live into a new file and puts it in the place of the old one.
    fn tidy(&mut self) -> io::Result<()> {
        if self.live_bytes + (MAGIC.len() as u64) >= self.end {
            return Ok(());
        }
        let mut order: Vec<(Uuid, Place)> = self.live.iter().map(|(id, place)| (*id, *place)).collect();
        order.sort_by_key(|(_, place)| place.offset);
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let path = PathBuf::from(name);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        // Locked before it has the name that others look for.
        lock(&file)?;
        file.write_all(MAGIC)?;
        let mut fresh = Self {
            file,
            path: self.path.clone(),
            max_bytes: self.max_bytes,
            end: MAGIC.len() as u64,
            live: HashMap::new(),
            live_bytes: self.live_bytes,
            damaged_events: self.damaged_events,
        };
        for (id, place) in order {
            let content = self.content(place)?;
            let offset = fresh.write(place.kind, &content)?;
            fresh.live.insert(id, Place { offset, ..place });
        }
        std::fs::rename(&path, &self.path)?;
        *self = fresh;
        Ok(())
    }
}

impl Drop for Spool {
    /// Closing the file frees it too, but not while a process that the program has just forked still has it.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Two processes with one spool would write over each other.
fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another client uses this spool; give each a file of its own")
        }
        TryLockError::Error(error) => error,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
