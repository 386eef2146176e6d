//! One WebSocket connection: handshake, limits, dispatch, gathering, answers in order, drain. Used by all services.
//!
//! Guarantee: every frame gets its answer, in the order of the frames; an event is answered `success` only once its chunk is
//! durable; nothing that was refused goes without a reason. What a session can do is what its service gives it:
//! [`Capabilities`].

mod ask;
mod limits;

pub use ask::{Ask, Dialect, Question};
pub use limits::SessionLimits;
