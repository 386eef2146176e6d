//! What must not be accepted, and what must not break anything although it looks odd.
//!
//! Each input gets a refusal with a reason or the right answer; the session goes on where it can; and a bystander, who
//! records the whole time on a session of its own, notices nothing.

mod batches;
mod bombs;
mod codes;
mod names;
mod requests;
mod scene;
mod sockets;
