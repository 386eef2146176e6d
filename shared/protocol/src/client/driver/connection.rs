//! Keeps a connection: which server, when to try again, and what becomes of it all when it breaks.
//!
//! Several servers are tried in turn, with hardly a delay between them in one round; rounds are apart by a growing, jittered delay. It
//! begins anew when a server has taken something, not when it has let us in: one that hangs up at once, or takes nothing, is
//! asked as seldom as one that is not there. What was on its way when a connection broke is sent again on the next, under the same ids.

use std::task::{Context, Poll};
use std::time::Duration;

use web_time::Instant;

use super::super::answers::{Kind, Whose};
use super::super::metrics::Counters;
use super::super::shared::Status;
use super::super::transport::{ConnectError, Link, LocalFuture};
use super::session::Session;
use super::{Driver, Happened, dial, shown};
use crate::wire::Limits;

/// After this part of the time that a server may be silent it is asked for a sign of life.
const ASK_FOR_LIFE: f64 = 0.4;
/// However short it may be silent: an answer takes its time.
const LEAST_SILENCE: Duration = Duration::from_millis(100);

/// Another server may take over at once, but not from all programs in the same moment.
const TAKE_OVER: Duration = Duration::from_millis(100);

/// Whatever the configuration says: beyond what a clock can hold there is no time to wait for.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

/// See the module.
pub(super) struct Connection {
    state: State,
    /// Attempts in a row of which nothing came.
    attempt: usize,
    /// The server of the last connection has taken something.
    proven: bool,
    /// The url tried last.
    url: usize,
    /// The server asked for a pause.
    hold_until: Option<Instant>,
    /// There was a connection before.
    ever: bool,
    /// Of the last connection: what batches are made for while there is none.
    v2: bool,
    /// A server that gives no sign of life for so long is taken for dead.
    silence: Duration,
}

enum State {
    Waiting(Instant),
    Connecting(LocalFuture<Result<(Link, bool), ConnectError>>),
    Open(Box<Session>),
    Closed,
}

impl Connection {
    pub(super) fn new(now: Instant, silence: Duration) -> Self {
        Self {
            state: State::Waiting(now),
            attempt: 0,
            proven: false,
            url: 0,
            hold_until: None,
            ever: false,
            v2: true,
            silence: silence.clamp(LEAST_SILENCE, LONGEST_DELAY),
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) => Some(session),
            _ => None,
        }
    }

    /// Whether batches can be sent.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.ready)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.in_flight.is_empty())
    }

    /// Whether an attempt to connect runs, or a connection stands.
    pub(super) fn is_hopeful(&self) -> bool {
        matches!(self.state, State::Connecting(_) | State::Open(_))
    }

    /// What the server speaks, or the last one spoke; and its limits.
    pub(super) fn speaks(&self) -> (bool, Option<&Limits>) {
        match &self.state {
            State::Open(session) => (session.v2, Some(&session.limits)),
            _ => (self.v2, None),
        }
    }

    /// The session on which something may be sent now.
    pub(super) fn sender(&mut self, now: Instant) -> Option<&mut Session> {
        if self.hold_until.is_some_and(|until| until > now) {
            return None;
        }
        self.hold_until = None;
        self.session()
    }

    /// Sends nothing for a while.
    pub(super) fn hold(&mut self, until: Instant) {
        self.hold_until = Some(until);
    }

    /// Somebody asks for a connection: not later but now.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let State::Waiting(until) = &mut self.state {
            *until = now;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Open(session) => {
                let part = if session.asked_for_life { 1.0 } else { ASK_FOR_LIFE };
                let alive = session.heard() + self.silence.mul_f64(part);
                Some(self.hold_until.map_or(alive, |until| until.min(alive)))
            }
            State::Connecting(_) | State::Closed => None,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        match &mut self.state {
            State::Waiting(_) | State::Closed => Poll::Pending,
            State::Connecting(connecting) => connecting.as_mut().poll(cx).map(|outcome| match outcome {
                Ok((link, v2)) => Happened::Connected(Box::new(Session::new(link, v2))),
                Err(error) => Happened::NotConnected(error.to_string()),
            }),
            State::Open(session) => session.poll(cx).map(|outcome| match outcome {
                Ok(frames) => Happened::Frames(frames),
                Err(error) => Happened::Broken(error.to_string()),
            }),
        }
    }

    pub(super) fn take_session(&mut self) -> Option<Box<Session>> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) => Some(session),
            _ => None,
        }
    }
}

impl Driver {
    /// Does what is due about the connection, and sends what may be sent.
    pub(super) fn tend_connection(&mut self, now: Instant) {
        let connected = self.connection.is_ready();
        self.questions.expire(now, connected);
        match &mut self.connection.state {
            State::Waiting(until) if *until <= now => {
                let url = self.urls[self.connection.url % self.urls.len()].clone();
                tracing::debug!(
                    url = shown(&url),
                    attempt = self.connection.attempt,
                    "connecting to the tracing server"
                );
                let token = self.shared.settings.token.clone();
                self.connection.state = State::Connecting(Box::pin(dial(url, token)));
                self.show_status();
            }
            State::Open(session) => {
                let silent = now.saturating_duration_since(session.heard());
                if silent >= self.connection.silence {
                    return self.broken("the server was silent for too long");
                }
                if silent >= self.connection.silence.mul_f64(ASK_FOR_LIFE) && !session.asked_for_life {
                    session.asked_for_life = true;
                    session.ask(Kind::Pong, Whose::Nobody, "\"Ping\"".to_owned());
                }
                if session.ready {
                    if !std::mem::replace(&mut session.subscribed, true) {
                        for request in self.questions.subscriptions() {
                            session.ask(Kind::Subscribed, Whose::Nobody, request.clone());
                        }
                    }
                    for (id, kind, request) in self.questions.unasked() {
                        session.ask(kind, Whose::Question(id), request);
                    }
                    self.send(now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn connected(&mut self, session: Box<Session>) {
        let url = shown(&self.urls[self.connection.url % self.urls.len()]);
        tracing::info!(url, v2 = session.v2, "connected to the tracing server");
        Counters::add(&self.shared.counters.connections, 1);
        Counters::add(&self.shared.counters.fallbacks_to_v1, u64::from(!session.v2));
        self.connection.v2 = session.v2;
        self.shared.state().server = Some(url);
        // Another server may have other rules, or none.
        self.shared.sampler.server_rules(&[]);
        self.connection.proven = false;
        self.connection.ever = true;
        self.connection.state = State::Open(session);
        self.show_status();
    }

    /// The server has taken something: whatever was wrong is over.
    pub(super) fn proven(&mut self) {
        (self.connection.proven, self.connection.attempt) = (true, 0);
        if let Some(session) = self.connection.session() {
            session.complaint = None;
        }
        self.shared.state().last_error = None;
    }

    pub(super) fn not_connected(&mut self, reason: String) {
        Counters::add(&self.shared.counters.connect_failures, 1);
        self.in_vain(reason, Duration::ZERO);
    }

    /// The connection is lost: what was on its way waits again, in front.
    pub(super) fn broken(&mut self, reason: &str) {
        let Some(mut session) = self.connection.take_session() else { return };
        // Where the server has said what was wrong, its end says nothing more.
        let complaint = session.complaint.take();
        let reason = complaint.as_deref().unwrap_or(reason);
        tracing::warn!(
            error = reason,
            in_flight = session.in_flight.len(),
            "the connection to the tracing server is lost"
        );
        Counters::add(&self.shared.counters.connections_lost, 1);
        self.put_back(&mut session);
        self.questions.ask_again();
        let delay = self.shared.config.retry_config.delay(0, fastrand::f64());
        if !self.connection.proven {
            return self.in_vain(reason.to_owned(), delay.min(TAKE_OVER));
        }
        let longest = if self.urls.len() > 1 { TAKE_OVER } else { LONGEST_DELAY };
        self.try_next(reason.to_owned(), delay.min(longest));
    }

    /// Nothing came of an attempt. The next server is tried soon, and the next round begins later and later.
    fn in_vain(&mut self, reason: String, soon: Duration) {
        let (attempt, rounds) = (self.connection.attempt + 1, self.connection.attempt / self.urls.len());
        self.connection.attempt = attempt;
        let round_over = attempt % self.urls.len() == 0;
        let retry = &self.shared.config.retry_config;
        let delay = if round_over { retry.delay(rounds, fastrand::f64()) } else { soon };
        if attempt == retry.max_retries.max(1) {
            tracing::warn!(
                error = reason,
                attempt,
                "no working connection to the tracing server; trying on in the background"
            );
        } else {
            tracing::debug!(error = reason, attempt, ?delay, "no working connection to the tracing server");
        }
        self.try_next(reason, delay);
    }

    fn try_next(&mut self, reason: String, delay: Duration) {
        self.connection.url += 1;
        self.shared.state().last_error = Some(reason);
        self.connection.state = State::Waiting(Instant::now() + delay.min(LONGEST_DELAY));
        self.show_status();
    }

    /// Puts what is on its way back in front of what waits.
    pub(super) fn put_back(&mut self, session: &mut Session) {
        let mut backlog = self.shared.backlog();
        for flight in session.in_flight.drain(..).rev() {
            let mut outgoing = flight.outgoing;
            let before = outgoing.bytes();
            outgoing.forget_body();
            self.shared.release(before - outgoing.bytes());
            backlog.push_front(outgoing);
        }
    }

    /// Tells the handles how things stand.
    pub(super) fn show_status(&mut self) {
        let failed_for_long = self.connection.attempt >= self.shared.config.retry_config.max_retries.max(1);
        let status = match &self.connection.state {
            State::Open(session) if session.ready => Status::Connected,
            State::Closed => Status::Disconnected,
            _ if failed_for_long => Status::Disconnected,
            _ if self.connection.ever => Status::Reconnecting,
            _ => Status::Connecting,
        };
        let session = self.connection.session();
        let limits = session.filter(|session| session.v2 && session.ready).map(|session| session.limits.clone());
        let mut state = self.shared.state();
        if status == Status::Connected {
            state.last_error = None;
        }
        (state.status, state.v2, state.limits) = (status, limits.is_some(), limits);
    }
}
