//! The records of a spool's file, read from its beginning.
//!
//! Layout: kind (1 byte), length of the content (u32), CRC-32 of the content (u32), content; numbers are little endian. Kind 1 to 3 is a
//! batch, a start, an end: id (16 bytes), trace id (16 bytes), events (u32), frame. Kind 4 crosses out: id (16 bytes).
//!
//! Guarantee: a damaged record costs itself and no other. Behind it the next whole record is looked for byte by byte, so that a damaged length
//! leads nobody astray; what begins one is known by its kind, a length that fits, the UUIDv7 of its id, and the CRC.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use uuid::Uuid;

pub(super) const HEAD_BYTES: usize = 9;
pub(super) const IDS_BYTES: usize = 36;
pub(super) const CROSSED_OUT: u8 = 4;
const BATCH: u8 = 1;
/// No frame is larger; a length beyond is damage.
const MAX_CONTENT_BYTES: usize = 256 << 20;
/// Where any byte may begin a record, only this much is taken for one: otherwise looking for it would read the file again and again.
const MAX_FOUND_BYTES: usize = 16 << 20;
/// Head and id.
const START_BYTES: usize = HEAD_BYTES + 16;
const WINDOW_BYTES: usize = 1 << 20;

/// What is found next.
#[derive(Debug)]
pub(super) enum Found {
    Record {
        kind: u8,
        /// Where its content lies.
        offset: u64,
        content: Vec<u8>,
    },
    /// Something that was a record once, of so many events, as far as can be told.
    Damaged { events: u64 },
    /// No whole record follows, but what a crash has cut off may.
    End,
}

/// See the module.
pub(super) struct Records<'a> {
    file: BufReader<&'a File>,
    /// Where the next record begins.
    at: u64,
    length: u64,
}

/// What the first bytes of a record say.
struct Head {
    kind: u8,
    bytes: usize,
    sum: u32,
}

impl<'a> Records<'a> {
    /// Reads from `at` on.
    pub(super) fn from(file: &'a File, at: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut file = BufReader::with_capacity(WINDOW_BYTES, file);
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file, at, length })
    }

    /// Behind the last that was given: what lies beyond after [`Found::End`] is nothing whole.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn next(&mut self) -> io::Result<Found> {
        let (at, mut start) = (self.at, [0; START_BYTES]);
        let read = fill(&mut self.file, &mut start)?;
        let head = Head::of(&start[..read], MAX_CONTENT_BYTES).filter(|head| head.end(at) <= self.length);
        let Some(head) = head else {
            return self.after_damage(1);
        };
        let mut content = start[HEAD_BYTES..].to_vec();
        content.resize(head.bytes, 0);
        self.file.read_exact(&mut content[START_BYTES - HEAD_BYTES..])?;
        if sum(&content) == head.sum {
            self.at = head.end(at);
            return Ok(Found::Record { kind: head.kind, offset: at + HEAD_BYTES as u64, content });
        }
        let events = u64::from(events(&content)).clamp(1, head.bytes as u64);
        match self.after_damage(if head.kind == BATCH { events } else { 0 })? {
            // The last of all, damaged and whole in length: it was not cut off.
            Found::End => {
                self.at = head.end(at);
                self.file.seek(SeekFrom::Start(self.at))?;
                Ok(Found::Damaged { events: if head.kind == BATCH { events } else { 0 } })
            }
            found => Ok(found),
        }
    }

    /// Goes to the next whole record.
    fn after_damage(&mut self, events: u64) -> io::Result<Found> {
        let Some(next) = self.find(self.at + 1)? else { return Ok(Found::End) };
        self.at = next;
        self.file.seek(SeekFrom::Start(next))?;
        Ok(Found::Damaged { events })
    }

    /// Where the next whole record begins, from a place on.
    fn find(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; WINDOW_BYTES];
        loop {
            self.file.seek(SeekFrom::Start(from))?;
            let read = fill(&mut self.file, &mut window)?;
            for (place, start) in window[..read].windows(START_BYTES).enumerate() {
                let at = from + place as u64;
                if let Some(head) = Head::of(start, MAX_FOUND_BYTES)
                    && is_id(&start[HEAD_BYTES..])
                    && head.end(at) <= self.length
                    && self.is_whole(at, &head)?
                {
                    return Ok(Some(at));
                }
            }
            if read < WINDOW_BYTES {
                return Ok(None);
            }
            // A record may begin in the last bytes of a window.
            from += (read - START_BYTES + 1) as u64;
        }
    }

    fn is_whole(&mut self, at: u64, head: &Head) -> io::Result<bool> {
        let mut content = vec![0; head.bytes];
        self.file.seek(SeekFrom::Start(at + HEAD_BYTES as u64))?;
        self.file.read_exact(&mut content)?;
        Ok(sum(&content) == head.sum)
    }
}

impl Head {
    /// `None` where no record can begin so.
    fn of(start: &[u8], most: usize) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(start.get(at..at + 4)?.try_into().ok()?));
        let (kind, bytes, sum) = (*start.first()?, number(1)? as usize, number(5)?);
        let fits = match kind {
            BATCH..CROSSED_OUT => (IDS_BYTES..=most).contains(&bytes),
            CROSSED_OUT => bytes == 16,
            _ => false,
        };
        (fits && start.len() >= START_BYTES).then_some(Self { kind, bytes, sum })
    }

    fn end(&self, at: u64) -> u64 {
        at + (HEAD_BYTES + self.bytes) as u64
    }
}

/// Of the content of a record that is no crossing out.
pub(super) fn events(content: &[u8]) -> u32 {
    content.get(32..IDS_BYTES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The lengths were checked when the record was read.
pub(super) fn uuid(content: &[u8], at: usize) -> Uuid {
    content.get(at..at + 16).and_then(|bytes| Uuid::from_slice(bytes).ok()).unwrap_or_default()
}

pub(super) fn sum(content: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(content);
    sum.sum()
}

/// Version 7 and variant: all ids here are of that kind.
fn is_id(bytes: &[u8]) -> bool {
    bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2
}

/// Fills the buffer as far as the file goes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
