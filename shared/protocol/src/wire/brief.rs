//! Reasons in few words: what is wrong with a request can be as long as the request, which its sender has already.

use std::fmt::{self, Display, Write};

/// So many bytes of each end are kept of what is cut: the beginning says what is wrong, the end what was expected, and where.
const END_BYTES: usize = 256;
/// Stands for what was left out.
const GAP: &str = "…";
/// Longest text that [`brief`] gives, bytes.
pub const MAX_BRIEF_BYTES: usize = 2 * END_BYTES + GAP.len();

/// What is displayed; where it is long, without its middle. The whole is never held.
pub fn brief(shown: impl Display) -> String {
    let mut ends = Ends::default();
    // One that fails in the middle has been shown so far.
    let _ = write!(ends, "{shown}");
    let Ends { mut start, end, cut } = ends;
    if cut {
        start.push_str(GAP);
    }
    start + &end
}

/// The two ends of a text that is written.
#[derive(Default)]
struct Ends {
    start: String,
    end: String,
    cut: bool,
}

impl Write for Ends {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.end.is_empty() { END_BYTES - self.start.len() } else { 0 };
        let (first, rest) = text.split_at(text.floor_char_boundary(room));
        self.start.push_str(first);
        let skipped = rest.ceil_char_boundary(rest.len().saturating_sub(END_BYTES));
        if skipped > 0 {
            // Nothing before it is among the last of the whole any more.
            self.end.clear();
        }
        self.end.push_str(&rest[skipped..]);
        let over = self.end.ceil_char_boundary(self.end.len().saturating_sub(END_BYTES));
        self.end.drain(..over);
        self.cut |= skipped + over > 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Parts<'a>(&'a [String]);

    impl Display for Parts<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|part| f.write_str(part))
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        assert_eq!(brief("expected a number"), "expected a number");
        let just = "x".repeat(2 * END_BYTES);
        assert_eq!(brief(&just), just);
    }

    #[test]
    fn of_what_is_long_both_ends_are_kept() {
        let error = format!("unknown variant `{}`, expected `one` at line 1 column 5", "B".repeat(1 << 20));
        let brief = brief(error);
        assert!(
            brief.starts_with("unknown variant `BBB") && brief.ends_with("BBB`, expected `one` at line 1 column 5")
        );
        assert_eq!(brief.len(), MAX_BRIEF_BYTES);
    }

    proptest! {
        #[test]
        fn however_it_is_written_the_ends_are_those_of_the_whole(parts in prop::collection::vec("\\PC{0,150}", 0..9)) {
            let whole = parts.concat();
            let brief = brief(Parts(&parts));
            prop_assert!(brief.len() <= MAX_BRIEF_BYTES);
            if brief == whole {
                return Ok(());
            }
            prop_assert!(whole.len() > 2 * (END_BYTES - 4));
            // The text may have such a sign of its own.
            let ends = |(at, gap): (usize, &str)| whole.starts_with(&brief[..at]) && whole.ends_with(&brief[at + gap.len()..]);
            prop_assert!(brief.match_indices(GAP).any(ends), "{brief:?} of {whole:?}");
        }
    }
}
