//! What a session has under way, in the order of its frames.
//!
//! All of it goes on at once, also while the session is busy with a peer who does not take what he is sent: what he holds up is his own
//! answers, not the bytes that his frames take from others. What is done comes out in order. A long answer has to know when its turn is: gathered before, it would
//! only lie about until everything before it has been sent.

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// Work of a session, whose results come in the order in which it was put in. Dropped, it ends what is under way.
pub(crate) struct Pending<T> {
    work: FuturesOrdered<AbortOnDropHandle<T>>,
    put_in: u64,
    came_out: u64,
    /// How many of those that came out have been dealt with.
    done: watch::Sender<u64>,
}

/// When everything before a piece of work has come out and been dealt with.
#[derive(Clone)]
pub(crate) struct Turn {
    place: u64,
    done: watch::Receiver<u64>,
}

/// Nobody waits for results any more.
const FORSAKEN: u64 = u64::MAX;

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { work: FuturesOrdered::new(), put_in: 0, came_out: 0, done: watch::Sender::new(0) }
    }
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn len(&self) -> usize {
        self.work.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    pub(crate) fn push(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.put_in += 1;
        self.work.push_back(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// The turn of what is put in next.
    pub(crate) fn next_turn(&self) -> Turn {
        Turn { place: self.put_in, done: self.done.subscribe() }
    }

    /// The next result; `None` when nothing is under way. Who asks for it has dealt with those before. Cancelling it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let came_out = self.came_out;
        self.done.send_if_modified(|done| {
            let more = *done < came_out;
            *done = (*done).max(came_out);
            more
        });
        let result = match self.work.next().await?.map_err(JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Only the end of the runtime, which is also the session's, cancels it.
            Err(Err(_)) => std::future::pending().await,
        };
        self.came_out += 1;
        Some(result)
    }

    /// What only somebody who listens would want need not be done.
    pub(crate) fn forsake(&self) {
        self.done.send_replace(FORSAKEN);
    }
}

impl Turn {
    pub(crate) fn has_come(&self) -> bool {
        *self.done.borrow() >= self.place
    }

    /// Waits for it; false when nobody waits for the result any more.
    pub(crate) async fn come(&mut self) -> bool {
        let place = self.place;
        self.done.wait_for(|done| *done >= place).await.is_ok_and(|done| *done != FORSAKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_all_before_it_is_out() {
        let mut pending = Pending::default();
        pending.push(async { 0 });
        let mut turn = pending.next_turn();
        pending.push(async move { if turn.come().await { 1 } else { 2 } });
        let later = pending.next_turn();
        assert!(!later.has_come());
        assert_eq!((pending.next().await, pending.next().await, pending.next().await), (Some(0), Some(1), None));
        assert!(later.has_come());
    }

    #[tokio::test]
    async fn who_waits_for_a_forsaken_turn_is_told() {
        let mut pending = Pending::default();
        pending.push(std::future::pending());
        let mut turn = pending.next_turn();
        pending.forsake();
        assert!(!turn.come().await);
        pending.push(async {});
    }
}
