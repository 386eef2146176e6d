//! The records of the dead-letter file, one after the other.
//!
//! A record: `RFD1`, when (i64, µs since the epoch), length of reason and of message (u32 each), FNV-1a of all that follows the
//! magic but this field (u32), reason, message. Numbers are little endian.
//!
//! Guarantee: a damaged record costs itself and no other. Behind it the next whole one is looked for byte by byte, so that a damaged length
//! leads nobody astray; what is one is known by its magic, lengths that fit, and the sum.

use bytes::Bytes;

use crate::DeadLetter;

const MAGIC: [u8; 4] = *b"RFD1";
const HEAD: usize = 24;

/// What is found next.
pub(super) enum Found {
    Letter(DeadLetter),
    /// Something that was a record once, or several.
    Damaged {
        at: usize,
        bytes: usize,
    },
}

/// Reads a file's bytes; ends where nothing follows, or only the beginning of a record.
pub(super) struct Records {
    file: Bytes,
    at: usize,
}

enum Record {
    /// And how long it is.
    Whole(DeadLetter, usize),
    /// The file ends before it does, if its length is right.
    CutOff,
    Damaged,
}

impl Records {
    pub(super) fn of(file: Bytes) -> Self {
        Self { file, at: 0 }
    }

    /// Behind the last that was given: what lies beyond at the end is the beginning of a record.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn find_whole(&self, from: usize) -> Option<usize> {
        let begins = self.file.get(from..)?.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC);
        let mut places = begins.map(|(place, _)| from + place);
        places.find(|at| matches!(read(&self.file.slice(*at..)), Record::Whole(..)))
    }
}

impl Iterator for Records {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let at = self.at;
        let record = read(&self.file.slice(at..));
        if let Record::Whole(letter, bytes) = record {
            self.at += bytes;
            return Some(Found::Letter(letter));
        }
        self.at = match self.find_whole(at + 1) {
            Some(next) => next,
            None if matches!(record, Record::CutOff) => return None,
            None => self.file.len(),
        };
        Some(Found::Damaged { at, bytes: self.at - at })
    }
}

/// The record that begins here. Its message shares the file's bytes.
fn read(file: &Bytes) -> Record {
    let magic = MAGIC.len().min(file.len());
    if file[..magic] != MAGIC[..magic] {
        return Record::Damaged;
    }
    let Some(head) = file.get(..HEAD) else { return Record::CutOff };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (reason_len, message_len, sum) = (number(12) as usize, number(16) as usize, number(20));
    let body = HEAD + reason_len;
    let end = body + message_len;
    if end > file.len() {
        return Record::CutOff;
    }
    if checksum(&[&file[4..20], &file[HEAD..end]]) != sum {
        return Record::Damaged;
    }
    let at_us = (u64::from(number(8)) << 32 | u64::from(number(4))) as i64;
    let reason = String::from_utf8_lossy(&file[HEAD..body]).into_owned();
    Record::Whole(DeadLetter { reason, at_us, message: file.slice(body..end) }, end)
}

pub(super) fn encode(letter: &DeadLetter) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [&str; 3] = ["first", "second", "third"];

    /// Three records, and where each begins.
    fn file() -> (Vec<u8>, [usize; 3]) {
        let mut file = Vec::new();
        let places = REASONS.map(|reason| {
            let at = file.len();
            let message = Bytes::from(reason.repeat(20));
            file.extend(encode(&DeadLetter { reason: reason.to_owned(), at_us: 7, message }));
            at
        });
        (file, places)
    }

    /// The reasons that are found, the damage, and where reading ended.
    fn found(file: &[u8]) -> (Vec<String>, Vec<(usize, usize)>, usize) {
        let (mut reasons, mut damage) = (Vec::new(), Vec::new());
        let mut records = Records::of(Bytes::copy_from_slice(file));
        for found in &mut records {
            match found {
                Found::Letter(letter) => {
                    assert_eq!((letter.message, letter.at_us), (Bytes::from(letter.reason.repeat(20)), 7));
                    reasons.push(letter.reason);
                }
                Found::Damaged { at, bytes } => damage.push((at, at + bytes)),
            }
        }
        (reasons, damage, records.at())
    }

    #[test]
    fn a_damaged_bit_costs_its_record_and_no_other() {
        let (whole, places) = file();
        assert_eq!(found(&whole), (REASONS.map(str::to_owned).to_vec(), vec![], whole.len()));
        for bit in places[1] * 8..places[2] * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let kept = vec!["first".to_owned(), "third".to_owned()];
            assert_eq!(found(&file), (kept, vec![(places[1], places[2])], whole.len()), "bit {bit}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_record_is_no_part_of_the_file() {
        let (whole, places) = file();
        for cut in places[2]..whole.len() {
            assert_eq!(found(&whole[..cut]), (vec!["first".to_owned(), "second".to_owned()], vec![], places[2]));
        }
        // The last one is damaged, and not cut off: it stays.
        let mut file = whole.clone();
        file[places[2] + HEAD] ^= 1;
        assert_eq!(found(&file).1, [(places[2], whole.len())]);
        // Behind damage, too, a beginning is none.
        let mut file = [&whole[..], &whole[..30]].concat();
        file[places[1] + HEAD] ^= 1;
        let kept = vec!["first".to_owned(), "third".to_owned()];
        assert_eq!(found(&file), (kept, vec![(places[1], places[2])], whole.len()));
    }
}
