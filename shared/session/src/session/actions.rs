//! What a session does about a frame: every kind of request gets its place among the answers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use reflow_tracing_bus::TailItem;
use reflow_tracing_chunk::Chunk;
use reflow_tracing_protocol::wire::{BatchFrame, BatchHeader, Code, Response, SubscribeRequest};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use uuid::Uuid;

use super::{Done, Session, Waited};
use crate::answer::{Answer, Refusal, text};
use crate::ask::Dialect;
use crate::batch::{Batch, check_name};
use crate::budget::Taken;
use crate::clock::now_us;
use crate::compressed::{self, Decompressed};
use crate::dispatch::{self, Action, Understood};
use crate::flow::Flow;
use crate::gather::Item;
use crate::live::{Passing, Slice, Subscription, View};
use crate::outgoing::SendError;
use crate::publish::no_ingest;
use crate::question::ask;
use crate::store_trace::store_trace;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    /// Gives a message its place.
    pub(super) fn take(&mut self, message: Message, taken: Option<Taken>) {
        match message {
            Message::Text(frame) => {
                let understood = dispatch::text(&frame);
                self.read(frame, understood, taken);
            }
            Message::Binary(frame) if self.v2 && BatchFrame::matches(&frame) => match dispatch::batch(&frame) {
                Ok(understood) => self.act(understood, None, taken),
                Err(refusal) => self.refuse(refusal),
            },
            Message::Binary(frame) => {
                // Decompressing may wait for room, and what comes out takes this frame's place: nothing behind it is read before.
                let shared = Arc::clone(&self.shared);
                self.waiting = Some(
                    async move {
                        match compressed::read(&shared, frame, taken).await {
                            Ok(decompressed) => Waited::Decompressed(Box::new(decompressed)),
                            Err(refusal) => Waited::Refused(refusal),
                        }
                    }
                    .boxed(),
                );
            }
            Message::Frame(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }

    pub(super) fn resume(&mut self, waited: Waited) {
        self.waiting = None;
        match waited {
            Waited::Message(message, taken) => self.take(message, taken),
            Waited::Decompressed(decompressed) => {
                let Decompressed { text, understood, taken } = *decompressed;
                self.read(text, understood, taken);
            }
            Waited::Refused(refusal) => self.refuse(refusal),
        }
    }

    fn read(&mut self, frame: Utf8Bytes, understood: Result<Understood, Refusal>, taken: Option<Taken>) {
        match understood {
            Ok(understood) => self.act(understood, Some(frame), taken),
            Err(refusal) => {
                let answer = self.refusal(refusal, dispatch::request_id(&frame));
                self.ready(answer);
            }
        }
    }

    fn act(&mut self, understood: Understood, frame: Option<Utf8Bytes>, taken: Option<Taken>) {
        let Understood { action, request, older } = understood;
        self.shared.metrics.frames.with_label_values(&[request]).inc();
        self.older.get_or_insert(older);
        let shared = Arc::clone(&self.shared);
        let dialect = self.dialect();
        let bytes = frame.as_ref().map_or(0, |frame| frame.len());
        if shared.capabilities.ingest.is_none() {
            let refusal = no_ingest(&shared);
            let counted = shared.metrics.refused.with_label_values(&[refusal.reason]);
            let answer = match &action {
                Action::Event { .. } => Some(refusal.not_recorded(dialect, None)),
                Action::End { request_id, .. } => Some(refusal.not_recorded(dialect, request_id.clone())),
                Action::Start(start) => Some(refusal.answer(dialect, None, start.request_id.clone())),
                Action::Batch { header, .. } => Some(refusal.answer(dialect, Some(header.batch_id), None)),
                Action::Store { .. } => Some(refusal.answer(Dialect::V1Older, None, None)),
                _ => None,
            };
            if let Some(answer) = answer {
                counted.inc();
                return self.ready(answer);
            }
        }
        match action {
            Action::Event { sent_id, range } => {
                if let Some(frame) = frame {
                    self.gather.add(Item::Event { sent_id, frame, range }, bytes, taken, now_us());
                }
            }
            Action::Start(start) => self.gather.add(Item::Start(start), bytes, taken, now_us()),
            Action::End { trace_id, status, request_id } => {
                self.gather.add(Item::End { trace_id, status, request_id }, bytes, taken, now_us());
            }
            Action::Batch { header, payload } => self.batch(header, payload, taken),
            Action::Store { trace, events } => {
                if let Some(frame) = frame {
                    self.place(async move {
                        let answer = store_trace(shared, trace, &frame[events]).await;
                        drop((frame, taken));
                        Done::answer(answer)
                    });
                }
            }
            Action::Ask { ask: question, request_id } => {
                self.launch_gather(true);
                let turn = self.pending.next_turn();
                self.place(async move {
                    let answer = ask(shared, dialect, question, request_id, turn).await;
                    drop(taken);
                    Done::answer(answer)
                });
            }
            Action::Subscribe(request) => self.subscribe(request, dialect, taken),
            Action::Unsubscribe(id) => {
                let done = Done { answer: Some(Answer::Recorded(1)), unsubscribe: Some(id), ..Done::default() };
                self.place(async move { done });
            }
            Action::Report(report) if self.v2 => shared.metrics.clients.add(&report),
            Action::Report(_) => {
                let message = "ClientMetrics is protocol v2: connect with Sec-WebSocket-Protocol: reflow-tracing.v2";
                self.refuse(Refusal::new(Code::Unsupported, "report_in_v1", message));
            }
            Action::Ping => self.ready(text(&Response::Pong)),
            Action::Figures => {
                let data = (shared.capabilities.figures)();
                self.ready(text(&Response::Metrics { data }));
            }
        }
    }

    fn batch(&mut self, header: BatchHeader, payload: Bytes, taken: Option<Taken>) {
        let shared = Arc::clone(&self.shared);
        if !self.v2 {
            let message = "RecordBatch is protocol v2: connect with Sec-WebSocket-Protocol: reflow-tracing.v2";
            let refusal = Refusal::new(Code::Unsupported, "batch_in_v1", message);
            return self.refuse_batch(refusal, &header);
        }
        let known = self.flows.get(header.trace_id);
        let (flow, tell) = match (&header.flow_id, known) {
            (Some(flow_id), known) => {
                let flow_name = header.flow_name.as_deref();
                let checked = check_name("flow_id", flow_id)
                    .and_then(|()| flow_name.map_or(Ok(()), |name| check_name("flow_name", name)));
                if let Err(refusal) = checked {
                    return self.refuse_batch(refusal, &header);
                }
                let flow = Flow::new(flow_id, flow_name, shared.limits.flow_naming);
                let tell = known.flatten().as_ref() != Some(&flow);
                self.flows.learn(header.trace_id, Some(flow.clone()));
                (Some(Some(flow)), tell)
            }
            (None, known) => (known, false),
        };
        self.reports.begin(shared.limits.report_interval);
        self.launch_gather(true);
        let batch = Batch { header, payload, flow, tell, taken, turn: self.pending.next_turn() };
        self.place(async move {
            let recorded = batch.publish(shared).await;
            let learned = recorded.learned.into_iter().collect();
            Done { answer: Some(recorded.answer), learned, ..Done::default() }
        });
    }

    fn refuse_batch(&mut self, refusal: Refusal, header: &BatchHeader) {
        self.shared.metrics.batches.with_label_values(&["refused"]).inc();
        self.shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
        let answer = refusal.answer(self.dialect(), Some(header.batch_id), None);
        self.ready(answer);
    }

    /// Opening waits for history where it is asked for `since`; the frame counts until then. What an open one keeps of it is little,
    /// see [`MAX_SUBSCRIBE_BYTES`](reflow_tracing_protocol::wire::MAX_SUBSCRIBE_BYTES).
    fn subscribe(&mut self, mut request: SubscribeRequest, dialect: Dialect, taken: Option<Taken>) {
        let shared = Arc::clone(&self.shared);
        let given = request.subscription_id.take();
        let name = (dialect == Dialect::V2).then(|| given.unwrap_or_else(|| Uuid::now_v7().to_string()));
        let opening = self.subscriptions.opening(name);
        self.place(async move {
            let opened = Subscription::open(Arc::clone(&shared), request, opening).await;
            drop(taken);
            match opened {
                Ok(subscription) => Done { subscription: Some(Box::new(subscription)), ..Done::default() },
                Err(refusal) => {
                    shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
                    Done::answer(refusal.answer(dialect, None, None))
                }
            }
        });
    }

    /// Takes an opened subscription in and gives its answer. Whether there is room is settled only now, when everything before it has
    /// been: what was sent in one write with it, openings that failed and `Unsubscribe` included, counts as if sent one by one.
    ///
    /// Up to the answer, one of the same name shows what it has; from the answer on, the new one does.
    pub(super) async fn admit(&mut self, subscription: Subscription) -> Result<Answer, SendError> {
        if let Some((view, items)) = self.subscriptions.last_of(&subscription) {
            self.show(&view, items).await?;
        }
        let max = self.shared.limits.max_subscriptions;
        let answer = subscription.answer();
        if self.subscriptions.add(subscription, max) {
            return Ok(answer);
        }
        let message = format!("session has {max} subscriptions (max_subscriptions); end some, or open another session");
        Ok(self.refusal(Refusal::new(Code::LimitExceeded, "subscriptions", message), None))
    }

    /// Sends what items of a tail mean to their subscriber. A server that stops does not wait for a viewer: what he has not taken by then he
    /// misses like everything after it.
    pub(super) async fn show(&mut self, view: &View, items: Vec<TailItem>) -> Result<(), SendError> {
        let stop = self.stop.clone();
        // Given up between two frames, never within one.
        let shown = stop.run_until_cancelled(async {
            for passing in view.pass(items).await {
                match passing {
                    Passing::Missed(missed) => self.out.feed(Answer::Text(view.missed(missed))).await?,
                    Passing::Chunk(chunk, _) => self.show_events(view, &chunk).await?,
                }
            }
            self.out.flush().await
        });
        shown.await.unwrap_or(Ok(()))
    }

    async fn show_events(&mut self, view: &View, chunk: &Chunk) -> Result<(), SendError> {
        let mut next = Some(0);
        while let Some(from) = next {
            let Slice { frames, room: _until_sent, next: behind } = view.events(chunk, from).await;
            for frame in frames {
                self.out.feed(Answer::Text(frame)).await?;
            }
            next = behind;
        }
        Ok(())
    }

    /// Gives a frame's work its place behind what has been gathered.
    fn place(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.launch_gather(true);
        self.pending.push(work);
    }

    fn ready(&mut self, answer: Answer) {
        self.place(async move { Done::answer(answer) });
    }

    fn refuse(&mut self, refusal: Refusal) {
        let answer = self.refusal(refusal, None);
        self.ready(answer);
    }

    /// Counts a refusal and puts it into the peer's words.
    fn refusal(&self, refusal: Refusal, request_id: Option<Box<RawValue>>) -> Answer {
        self.shared.metrics.frames.with_label_values(&["refused"]).inc();
        self.shared.metrics.refused.with_label_values(&[refusal.reason]).inc();
        refusal.answer(self.dialect(), None, request_id)
    }

    pub(super) fn dialect(&self) -> Dialect {
        match (self.v2, self.older) {
            (true, _) => Dialect::V2,
            (false, Some(true)) => Dialect::V1Older,
            (false, _) => Dialect::V1,
        }
    }
}
