//! The bus over NATS JetStream (nats-server 2.9 and newer).
//!
//! Guarantee: what `publish` returned `Ok` for is in a file-backed work-queue stream; it leaves the stream only by a writer's
//! ack, or by its termination after it became a dead letter. A full stream and a server that is away make publishers wait,
//! never fail. The tail is the stream's own republishing, so a viewer sees what was really stored, and no second publish is made.
//!
//! Left out on purpose: names that can be configured; installations that share a server use an account each.

mod address;
mod api;
mod connection;
mod consumer;
mod dead;
mod declare;
mod gaps;
pub(crate) mod link;
mod options;
mod publish;
mod start;
mod stuck;
mod subjects;
mod tail;

pub use connection::NatsBus;
pub use options::NatsOptions;
pub(crate) use publish::HEADER_ROOM;
