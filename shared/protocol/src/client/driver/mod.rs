//! The background of a client: makes batches of what was recorded, keeps a connection, sends, and sees every ack.
//!
//! One loop on one thread owns everything here, so nothing in it is locked. It never waits for one thing only: commands, frames,
//! timers and the socket's readiness are polled side by side. Hashing, serialising and compressing happen here too, never on the
//! caller's thread.
//!
//! Guarantee: what was taken from the buffer is settled in the end: acked, or counted as dropped or refused.

mod connection;
mod dial;
mod ending;
mod flush;
mod gather;
mod keep;
mod replies;
mod requests;
mod sending;
mod session;
mod traces;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use url::Url;
use uuid::Uuid;
use web_time::Instant;

use self::connection::Connection;
pub(crate) use self::dial::{dial, shown, urls};
use self::flush::Waiting;
pub(crate) use self::replies::read_frame;
pub(crate) use self::requests::names;
use self::session::Session;
use self::traces::Traces;
use super::answers::Questions;
use super::buffer::Segment;
use super::mailbox::Command;
use super::metrics::ClientMetrics;
use super::shared::Shared;
use super::spool::Spool;
use super::transport::{Frame, sleep};
use super::{events, transport};

/// While events come thick and fast the background looks for them so often, instead of being woken for each.
const POLL: Duration = Duration::from_millis(1);
/// The same while there is no connection and no hurry.
const POLL_DOWN: Duration = Duration::from_millis(10);
/// More events than this between two looks are thick and fast.
const BUSY: usize = 2;
/// Without anything to do the background looks around so often all the same.
const IDLE: Duration = Duration::from_secs(5);

/// The figures go to the log so often, and at the end.
const TELL: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    urls: Vec<Url>,
    traces: Traces,
    connection: Connection,
    questions: Questions,
    /// What the handles have asked for and has not been begun.
    asked: VecDeque<Command>,
    waiting: Waiting,
    spool: Option<Spool>,
    /// Of the last thing that was handed to the backlog.
    number: u64,
    /// Since when events wait that are in no batch yet.
    gathering_since: Option<Instant>,
    /// When drops were last reported.
    reported: Instant,
    /// When the figures were last told to the log.
    told: Instant,
    /// The figures last reported to a server.
    reported_figures: ClientMetrics,
    /// Events that have left the buffer and are in no batch yet.
    hand: VecDeque<Segment>,
    /// Events taken at the last look.
    taken: usize,
    /// Events in batches that grow.
    growing: usize,
    /// Bytes of starts and ends of traces since what waits of them was last looked at.
    requested_bytes: usize,
    /// All is settled or told.
    ended: bool,
}

/// What the loop woke up for.
enum Happened {
    Nothing,
    Connected(Box<Session>),
    NotConnected(String),
    Frames(Vec<Frame>),
    Broken(String),
}

impl Driver {
    /// `own` is the id that the first trace will have.
    pub(crate) fn new(shared: Arc<Shared>, urls: Vec<Url>, own: Uuid) -> Self {
        let now = Instant::now();
        let mut driver = Self {
            connection: Connection::new(now, shared.settings.silence_timeout),
            traces: Traces::new(Arc::clone(&shared.generations)),
            shared,
            urls,
            questions: Questions::default(),
            asked: VecDeque::new(),
            waiting: Waiting::default(),
            spool: None,
            number: 0,
            gathering_since: None,
            reported: now,
            told: now,
            reported_figures: ClientMetrics::default(),
            hand: VecDeque::new(),
            taken: 0,
            growing: 0,
            requested_bytes: 0,
            ended: false,
        };
        driver.own(own);
        driver
    }

    /// The id that the next trace will have: what comes before its start belongs to it.
    fn own(&mut self, trace_id: Uuid) {
        let flow = requests::flow(&self.shared.settings, None);
        let trace = self.traces.get(trace_id);
        (trace.own, trace.flow) = (true, flow);
    }

    /// The figures, for the log.
    fn tell_metrics(&mut self, now: Instant) {
        self.told = now;
        let metrics = self.shared.metrics();
        tracing::debug!(
            recorded = metrics.events_recorded,
            acked = metrics.events_acked,
            waiting = metrics.events_waiting,
            rejected = metrics.events_rejected,
            dropped = metrics.events_dropped(),
            batches = metrics.batches_acked,
            resent = metrics.batches_resent,
            bytes_before_compression = metrics.bytes_before_compression,
            bytes_after_compression = metrics.bytes_after_compression,
            ack_latency_p50_us = metrics.ack_latency_p50_us,
            ack_latency_p99_us = metrics.ack_latency_p99_us,
            connect_failures = metrics.connect_failures,
            connections_lost = metrics.connections_lost,
            server_errors = metrics.server_errors,
            "figures of the tracing client"
        );
    }

    /// Runs until a shutdown is done.
    pub(crate) async fn run(mut self) {
        self.open_spool();
        loop {
            let now = Instant::now();
            self.shared.wake.awake();
            self.commands(now);
            self.traces.book(self.shared.take_drops());
            // Somebody may have recorded in the moment of a shutdown, and has seen no error.
            self.gather(now, !self.waiting.shutdowns.is_empty());
            self.tend_connection(now);
            if self.told + TELL <= now {
                self.tell_metrics(now);
                self.shared.buffer.give_back();
            }
            if self.settle_waiting(now) {
                break;
            }
            match self.wait().await {
                Happened::Nothing => {}
                Happened::Connected(session) => self.connected(session),
                Happened::NotConnected(reason) => self.not_connected(reason),
                Happened::Frames(frames) => frames.into_iter().for_each(|frame| self.received(&frame)),
                Happened::Broken(reason) => self.broken(&reason),
            }
        }
        self.tell_metrics(Instant::now());
        self.stop().await;
    }

    fn commands(&mut self, now: Instant) {
        self.asked.extend(self.shared.mailbox.take());
        while let Some(command) = self.asked.pop_front() {
            match command {
                Command::Connect { deadline, strict, reply } => {
                    self.connection.hurry(now);
                    self.waiting.connects.push((deadline, strict, reply));
                }
                Command::Own(trace_id) => self.own(trace_id),
                Command::Start(start) => self.start(&start),
                Command::End { trace_id, status } => {
                    self.gather(now, true);
                    self.end(trace_id, &status);
                }
                Command::Flush(asked) => {
                    // Waits from here on, so that it is answered even if there is no next line.
                    self.waiting.flushes.push((u64::MAX, asked));
                    self.gather(now, true);
                    self.waiting.flushes.iter_mut().for_each(|(up_to, _)| *up_to = self.number.min(*up_to));
                }
                Command::Shutdown(asked, told) => {
                    self.waiting.shutdowns.push(asked);
                    self.gather(now, true);
                    for (trace_id, by_events) in self.traces.open() {
                        let told = told.as_ref().filter(|(told_of, _)| *told_of == trace_id);
                        self.end(trace_id, told.map_or(&by_events, |(_, status)| status));
                    }
                }
                Command::Ask(question) => self.questions.add(question),
                Command::Open(opening) => {
                    transport::spawn(events::serve(Arc::clone(&self.shared), self.urls.clone(), opening));
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    async fn wait(&mut self) -> Happened {
        let now = Instant::now();
        let found = self.shared.buffer.len();
        let busy = self.taken > BUSY || found > 0;
        let mut until = now + IDLE;
        let deadlines = [
            self.gather_due(),
            self.connection.next_deadline(),
            self.waiting.next_deadline(),
            self.questions.next_deadline(),
        ];
        for deadline in deadlines.into_iter().flatten() {
            until = until.min(deadline);
        }
        if busy {
            until = until.min(now + if self.connection.is_ready() { POLL } else { POLL_DOWN });
        } else {
            self.shared.wake.going_to_sleep();
            if self.shared.buffer.len() > found {
                return Happened::Nothing;
            }
        }
        let shared = Arc::clone(&self.shared);
        let woken = shared.wake.woken();
        let timer = sleep(until.saturating_duration_since(now));
        tokio::pin!(woken, timer);
        let connection = &mut self.connection;
        poll_fn(|cx| {
            if let Poll::Ready(happened) = connection.poll(cx) {
                return Poll::Ready(happened);
            }
            if woken.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Happened::Nothing);
            }
            Poll::Pending
        })
        .await
    }
}
