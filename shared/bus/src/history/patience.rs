//! How long an asker waits.

use std::time::Duration;

use tokio::time::Instant;

/// No answer is worth waiting for longer, and no clock can hold every [`Duration`].
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long an asker waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// So long for all of it, however slowly it is read: somebody waits for the end.
    Whole(Duration),
    /// So long for each piece. What is done with one before the next is wanted takes none of it: an answer that goes on to
    /// somebody who reads may be as large, and he as slow, as they are.
    EachPiece(Duration),
}

impl Patience {
    /// The time that it is about.
    pub(super) fn time(self) -> Duration {
        let (Self::Whole(time) | Self::EachPiece(time)) = self;
        time.min(LONGEST)
    }

    /// When it is over, if it begins now.
    pub(super) fn until(self) -> Instant {
        Instant::now() + self.time()
    }

    /// Moves the end of it when another piece is wanted.
    pub(super) fn renew(self, until: &mut Instant) {
        if self.is_for_each() {
            *until = self.until();
        }
    }

    /// Whether it begins anew with each piece.
    pub(super) fn is_for_each(self) -> bool {
        matches!(self, Self::EachPiece(_))
    }
}
