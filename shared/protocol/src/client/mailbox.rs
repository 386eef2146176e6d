//! What the handles ask of the background.
//!
//! Guarantee: what is put in is taken by a background, or not taken at all: nothing ever waits in a queue that nobody reads, so nobody waits
//! for an answer that nobody gives. No trace begins or ends after a shutdown was put in, whoever asks for it at the same time. Bounded: starts and ends of traces, of which a program can make any number, wait for room; of all else
//! there is one for each caller, who waits for its answer.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;
use web_time::Instant;

use super::Result;
use super::answers::Question;
use super::events::Opening;
use super::shared::lock;
use super::undelivered::{Lost, Outcome};
use crate::{ExecutionStatus, FlowVersion};

/// With so many waiting, whoever begins or ends a trace waits for the background.
const MOST: usize = 1_024;

/// What the background is to do.
pub(crate) enum Command {
    /// Answer once connected. `Err` at the deadline if `strict`.
    Connect { deadline: Instant, strict: bool, reply: oneshot::Sender<Result<()>> },
    /// Events under this id belong to the trace that the client will begin next.
    Own(Uuid),
    /// Begin a trace.
    Start(Start),
    /// End a trace, after everything recorded so far.
    End { trace_id: Uuid, status: ExecutionStatus },
    /// Answer once everything recorded so far is settled.
    Flush(Asked),
    /// The same, after ending the client's own traces; then stop. One of them may end as the caller says, and not by its own events.
    Shutdown(Asked, Option<(Uuid, ExecutionStatus)>),
    /// Ask the server.
    Ask(Question),
    /// Open a stream of live events.
    Open(Opening),
}

/// A trace to begin.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) trace_id: Uuid,
    pub(crate) flow_id: String,
    pub(crate) version: FlowVersion,
}

/// Somebody wants to know what was delivered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) deadline: Instant,
    /// What was lost when it was last told.
    pub(crate) since: Lost,
    /// `None`: the client was dropped, nobody hears.
    pub(crate) reply: Option<oneshot::Sender<Outcome>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// `None` while there is no background.
    queue: Mutex<Option<Queue>>,
    /// The same, to be read for every event.
    open: AtomicBool,
    room: Notify,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// A shutdown was put in.
    ending: bool,
}

impl Mailbox {
    /// Whether there is a background.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// A background begins.
    pub(crate) fn open(&self) {
        *lock(&self.queue) = Some(Queue::default());
        self.open.store(true, Ordering::Release);
    }

    /// The background ends; gives what it has not taken.
    pub(crate) fn close(&self) -> VecDeque<Command> {
        self.open.store(false, Ordering::Release);
        let left = lock(&self.queue).take();
        self.room.notify_waiters();
        left.unwrap_or_default().commands
    }

    /// False, and the command is dropped, where there is no background, or none any more for such a command.
    pub(crate) fn put(&self, command: Command) -> bool {
        let mut queue = lock(&self.queue);
        let Some(queue) = queue.as_mut() else { return false };
        if queue.ending && command.is_of_a_trace() {
            return false;
        }
        queue.ending |= matches!(command, Command::Shutdown(..));
        queue.commands.push_back(command);
        true
    }

    /// The same as soon as there is room.
    pub(crate) async fn put_when_room(&self, command: Command) -> bool {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on room is not missed, even before the first poll.
            room.as_mut().enable();
            if lock(&self.queue).as_ref().is_none_or(|queue| queue.ending || queue.commands.len() < MOST) {
                return self.put(command);
            }
            room.await;
        }
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        let taken = lock(&self.queue).as_mut().map(|queue| std::mem::take(&mut queue.commands)).unwrap_or_default();
        if taken.len() >= MOST {
            self.room.notify_waiters();
        }
        taken
    }
}

impl Command {
    fn is_of_a_trace(&self) -> bool {
        matches!(self, Self::Own(_) | Self::Start(_) | Self::End { .. })
    }
}

impl Asked {
    /// Nobody may be waiting any more.
    pub(crate) fn answer(self, outcome: Outcome) {
        if let Some(reply) = self.reply {
            let _ = reply.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn nothing_waits_where_nobody_reads() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.is_open() && !mailbox.put(Command::Own(Uuid::nil())));
        mailbox.open();
        assert!(mailbox.is_open() && mailbox.put(Command::Own(Uuid::nil())));
        assert_eq!(mailbox.close().len(), 1);
        assert!(!mailbox.is_open() && !mailbox.put(Command::Own(Uuid::nil())));
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn after_a_shutdown_no_trace_begins_or_ends() {
        let mailbox = Mailbox::default();
        mailbox.open();
        let asked = || Asked { deadline: Instant::now(), since: Lost::default(), reply: None };
        let end = || Command::End { trace_id: Uuid::nil(), status: ExecutionStatus::Completed };
        assert!(mailbox.put(end()) && mailbox.put(Command::Shutdown(asked(), None)));
        assert!(!mailbox.put(end()) && !mailbox.put(Command::Own(Uuid::nil())));
        // Taking it does not begin anew.
        assert_eq!(mailbox.take().len(), 2);
        assert!(!mailbox.put(end()) && mailbox.put(Command::Flush(asked())));
        mailbox.close();
        mailbox.open();
        assert!(mailbox.put(end()));
    }

    #[test]
    fn whoever_begins_traces_faster_than_they_are_taken_waits() {
        let mailbox = Mailbox::default();
        mailbox.open();
        let put = || mailbox.put_when_room(Command::Own(Uuid::nil()));
        (0..MOST).for_each(|_| assert_eq!(put().now_or_never(), Some(true)));
        let mut waiting = Box::pin(put());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(mailbox.take().len(), MOST);
        assert_eq!(waiting.now_or_never(), Some(true));
        // Two may see the same room; what is over the bound is one for each of them.
        (1..MOST).for_each(|_| assert_eq!(put().now_or_never(), Some(true)));
        let mut waiting = Box::pin(put());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        mailbox.close();
        assert_eq!(waiting.now_or_never(), Some(false));
    }
}
