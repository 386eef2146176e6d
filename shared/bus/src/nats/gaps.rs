//! Whether a tail has seen everything, judged by the sequences that the server puts on what it republishes.
//!
//! The server gives each message its sequence in the stream and that of the message before it *of the same subject*, if that
//! one is still in the stream (a work queue forgets what was acknowledged; then it says 0). So a gap that is reported is real, while a
//! gap may go unseen when the message before was consumed already. Losses that the connection itself knows of (reconnect,
//! overflow) are therefore told apart from this.

use std::collections::HashMap;

/// Subjects remembered; with more, the memory starts anew from the greatest sequence seen.
const MAX_SUBJECTS: usize = 8192;

/// Sequences of one republished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    /// Its own.
    pub(crate) own: u64,
    /// That of the message before it of the same subject, 0 when unknown.
    pub(crate) before: u64,
}

/// What to make of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Show it.
    Next,
    /// Show it, and tell that something before it is missing.
    Gap,
    /// It was there before the tail began.
    Old,
}

pub(crate) struct Gaps {
    /// What is not behind this is history; 0 once nothing of before can be on its way any more.
    floor: u64,
    /// What is not behind this counts as seen.
    baseline: u64,
    /// The next message begins anew: what is before it was told as missing.
    begins_anew: bool,
    last: HashMap<String, u64>,
    greatest: u64,
}

impl Gaps {
    /// A tail that begins behind `position`.
    pub(crate) fn new(position: u64) -> Self {
        Self { floor: position, baseline: position, begins_anew: false, last: HashMap::new(), greatest: position }
    }

    pub(crate) fn judge(&mut self, subject: &str, sequences: Sequences) -> Verdict {
        let Sequences { own, before } = sequences;
        if own <= self.floor {
            return Verdict::Old;
        }
        if std::mem::take(&mut self.begins_anew) {
            self.last.clear();
            self.baseline = own - 1;
        }
        let known = self.last.get(subject).copied().unwrap_or(self.baseline);
        self.greatest = self.greatest.max(own);
        match self.last.get_mut(subject) {
            Some(last) => *last = own,
            None => {
                if self.last.len() >= MAX_SUBJECTS {
                    self.last.clear();
                    self.baseline = self.greatest;
                }
                self.last.insert(subject.to_owned(), own);
            }
        }
        if before > known { Verdict::Gap } else { Verdict::Next }
    }

    /// The greatest sequence seen, or where the tail began.
    pub(crate) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// What was sent before the tail began has arrived. From here on a small sequence is a new stream's.
    pub(crate) fn settle(&mut self) {
        self.floor = 0;
    }

    /// What is missing up to the next message was told: only what is missing behind that is news.
    pub(crate) fn forget(&mut self) {
        self.begins_anew = true;
    }

    /// The stream was made anew and its sequences begin at 1 again.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(gaps: &mut Gaps, subject: &str, own: u64, before: u64) -> Verdict {
        gaps.judge(subject, Sequences { own, before })
    }

    #[test]
    fn a_missing_message_of_a_subject_is_a_gap_once() {
        let mut gaps = Gaps::new(10);
        assert_eq!(judge(&mut gaps, "a", 9, 0), Verdict::Old);
        assert_eq!(judge(&mut gaps, "a", 11, 9), Verdict::Next);
        assert_eq!(judge(&mut gaps, "b", 12, 10), Verdict::Next);
        assert_eq!(judge(&mut gaps, "a", 15, 14), Verdict::Gap);
        assert_eq!(judge(&mut gaps, "a", 16, 15), Verdict::Next);
        assert_eq!(judge(&mut gaps, "b", 17, 0), Verdict::Next);
        assert_eq!(judge(&mut gaps, "c", 20, 19), Verdict::Gap);
        assert_eq!(gaps.greatest(), 20);
    }

    #[test]
    fn what_was_told_is_forgotten() {
        let mut gaps = Gaps::new(0);
        assert_eq!(judge(&mut gaps, "a", 5, 0), Verdict::Next);
        gaps.forget();
        assert_eq!(judge(&mut gaps, "b", 9, 8), Verdict::Next);
        assert_eq!(judge(&mut gaps, "a", 10, 7), Verdict::Next);
        assert_eq!(judge(&mut gaps, "a", 12, 11), Verdict::Gap);
    }

    #[test]
    fn a_new_stream_is_followed() {
        let mut gaps = Gaps::new(100);
        assert_eq!(judge(&mut gaps, "a", 1, 0), Verdict::Old);
        gaps.settle();
        assert_eq!(judge(&mut gaps, "a", 2, 1), Verdict::Next);
        gaps.restart();
        assert_eq!(judge(&mut gaps, "a", 4, 3), Verdict::Gap);
    }

    #[test]
    fn memory_is_bounded() {
        let mut gaps = Gaps::new(0);
        for own in 1..=3 * MAX_SUBJECTS as u64 {
            assert_eq!(judge(&mut gaps, &own.to_string(), own, 0), Verdict::Next);
            assert!(gaps.last.len() <= MAX_SUBJECTS);
        }
    }
}
