//! One WebSocket connection: handshake, limits, dispatch, gathering, answers in order, drain. Used by all services.
//!
//! Guarantee: every frame gets its answer, in the order of the frames; an event is answered `success` only once its chunk is
//! durable; nothing that was refused goes without a reason. What a session can do is what its service gives it:
//! [`Capabilities`].
//!
//! Left out on purpose: what is in a store, how an answer of history is rendered, what a bus is.

mod adoption;
mod answer;
mod ask;
mod batch;
mod budget;
mod capabilities;
mod clients;
mod clock;
mod close;
mod compressed;
mod cut;
mod dispatch;
mod filter;
mod flow;
mod gather;
mod handshake;
mod limits;
mod live;
mod look_up;
mod metrics;
mod outgoing;
mod page;
mod pending;
mod publish;
mod question;
mod rejections;
mod server;
mod session;
mod shown;
mod since;
mod start;
mod status;
mod store_trace;
mod subscriptions;

pub use ask::{Ask, Dialect, Question};
pub use capabilities::Capabilities;
pub use limits::SessionLimits;
pub use metrics::{SessionMetrics, session_metrics};
pub use server::{DrainOutcome, Server};
