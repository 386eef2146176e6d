//! From the buffer into batches: when, how large, and what they are called.
//!
//! A batch size of 1 means "do not wait": with nothing on its way, what is there goes at once; else what gathers meanwhile goes as one
//! batch when an ack comes, or after a few milliseconds. A larger size is waited for, at most `batch_timeout`.

use std::time::Duration;

use uuid::Uuid;
use web_time::Instant;

use super::super::batch::{Body, Outgoing};
use super::super::buffer::Entry;
use super::super::metrics::{Counters, DropReason};
use super::Driver;
use super::traces::Making;
use crate::codec::Codec;

/// Most events a batch where the configuration says "do not wait".
const MAX_EVENTS: usize = 2_000;
/// In v1 each event has its own frame and its own ack; smaller batches lose less of that work with a connection.
const MAX_EVENTS_V1: usize = 256;
/// A batch is full with so much JSON, whatever its events: compressed it is far below what a server takes.
const MAX_RAW_BYTES: usize = 1 << 20;
/// With batches on their way, a further one is made of what has gathered for so long.
const LINGER: Duration = Duration::from_millis(5);
/// Without a connection there is no hurry, and larger batches compress better.
const LINGER_DOWN: Duration = Duration::from_secs(1);
/// Events taken before other things get their turn.
const AT_ONCE: usize = 8_192;
/// Drops are reported so often where no batch of the trace does it.
const REPORT: Duration = Duration::from_secs(1);

impl Driver {
    /// Makes batches of what waits, if it is time; everything that waits now if `force`.
    pub(super) fn gather(&mut self, now: Instant, force: bool) {
        self.taken = 0;
        let waiting = self.shared.buffer.len();
        if waiting > 0 || self.growing > 0 {
            self.gathering_since.get_or_insert(now);
        }
        let due = force || self.gather_due().is_some_and(|due| due <= now);
        if due || waiting + self.growing >= self.batch_events() {
            if force {
                self.hand.extend(self.shared.buffer.take_all());
                self.add_all();
            }
            let wanted = if force { 0 } else { waiting.min(AT_ONCE) };
            while self.taken < wanted
                && let Some(segment) = self.shared.buffer.take()
            {
                self.hand.push_back(segment);
                self.add_all();
            }
            if due {
                self.traces.growing_ids().into_iter().for_each(|id| self.seal(id));
            }
            if self.growing == 0 {
                self.gathering_since = None;
            }
        }
        if force || self.reported + REPORT <= now {
            self.report_drops(now);
        }
    }

    /// When what waits is to go, however little it is.
    pub(super) fn gather_due(&self) -> Option<Instant> {
        let since = self.gathering_since?;
        let config = &self.shared.config;
        // What is to survive a crash has to get into the spool, whether or not it can be sent.
        let hurry = self.shared.settings.spool.is_some();
        let patient = if hurry { config.batch_timeout } else { config.batch_timeout.max(LINGER_DOWN) };
        let linger = if !self.connection.is_ready() {
            patient
        } else if config.batch_size > 1 {
            config.batch_timeout
        } else if self.connection.is_idle() && self.shared.backlog().is_empty() {
            Duration::ZERO
        } else if self.shared.backlog().is_empty() {
            LINGER
        } else {
            // More than may be on its way waits already.
            patient
        };
        since.checked_add(linger)
    }

    fn batch_events(&self) -> usize {
        let (v2, limits) = self.connection.speaks();
        let most = if v2 { MAX_EVENTS } else { MAX_EVENTS_V1 };
        let wanted = match self.shared.config.batch_size {
            0 | 1 => most,
            size => size,
        };
        wanted.min(limits.map_or(10_000, |limits| limits.max_batch_events)).max(1)
    }

    /// Puts what is in hand into the batches of its traces. An event leaves the hand when nothing can go wrong with it any more:
    /// `ending.rs` counts what is left.
    fn add_all(&mut self) {
        while let Some(segment) = self.hand.front_mut() {
            if let Some(entry) = segment.first()
                && let Some(finish) = entry.finish.take()
            {
                finish(&mut entry.event);
            }
            if let Some(entry) = segment.pop() {
                self.taken += 1;
                self.add(&entry);
            } else if let Some(emptied) = self.hand.pop_front() {
                self.shared.buffer.recycle(emptied);
            }
        }
    }

    fn add(&mut self, entry: &Entry) {
        if self.traces.is_crowded() {
            self.traces.growing_ids().into_iter().for_each(|id| self.seal(id));
        }
        let pushed = self.traces.push(entry.trace_id, &entry.event);
        self.shared.release(entry.bytes);
        match pushed {
            Ok(bytes) => self.shared.hold(bytes),
            Err(error) => {
                tracing::warn!(%error, "an event cannot be written as JSON and is dropped");
                return self.shared.drop_entry(entry, DropReason::Unwritable);
            }
        }
        Counters::add(&self.shared.counters.events_batched, 1);
        self.growing += 1;
        let most = self.batch_events();
        let trace = self.traces.get(entry.trace_id);
        if trace.events() >= most || trace.raw_bytes() >= MAX_RAW_BYTES {
            self.seal(entry.trace_id);
        }
    }

    /// Makes a batch of what a trace has gathered; an empty one to tell its counts.
    pub(super) fn seal(&mut self, trace_id: Uuid) {
        let settings = &self.shared.settings;
        let (v2, _) = self.connection.speaks();
        // For v1 the batch would have to be decompressed again at once.
        let codec = if self.shared.config.enable_compression && v2 { settings.codec } else { Codec::None };
        let making = Making { client_id: &self.shared.client_id, codec, level: settings.level };
        self.number += 1;
        let trace = self.traces.get(trace_id);
        let raw = trace.raw_bytes();
        self.growing -= trace.events();
        let batch = self.traces.seal(trace_id, &making, self.number);
        let counters = &self.shared.counters;
        Counters::add(&counters.bytes_before_compression, raw as u64 + 1);
        if let Body::Frame(frame) = &batch.body {
            Counters::add(&counters.bytes_after_compression, frame.len() as u64);
        }
        self.shared.release(raw);
        self.enqueue(batch);
    }

    /// Hands something to whoever sends it. In memory stays what is sent soon; what waits for longer lies in the spool alone, whether
    /// there is no connection or a server that takes nothing.
    pub(super) fn enqueue(&mut self, mut outgoing: Outgoing) {
        self.keep(&mut outgoing);
        let waits_long = self.shared.backlog().len() >= self.shared.settings.batches_in_flight;
        if !self.connection.is_ready() || waits_long || self.shared.is_half_full() {
            outgoing.forget_body();
        }
        self.shared.hold(outgoing.bytes());
        self.shared.backlog().push_back(outgoing);
    }

    /// Tells the server of drops that no batch has told of.
    fn report_drops(&mut self, now: Instant) {
        self.reported = now;
        if self.connection.is_ready() {
            for trace_id in self.traces.unreported() {
                tracing::warn!(%trace_id, dropped = self.shared.metrics().events_dropped(), "events were dropped");
                self.seal(trace_id);
            }
        }
    }
}
