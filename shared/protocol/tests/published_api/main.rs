//! The public face of the published crate 0.2.1, written down as a program that uses all of it.
//!
//! Nothing there is `non_exhaustive`, so a new field, variant or bound would break programs. These files build every public struct by
//! literal, match every enum without `_`, call every method with its types spelled out, and assert every trait. They are built twice:
//! here against our crate, and by `tests/compat` against the published one. So they say nothing that the published crate does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod constructors;
mod names;
mod samples;
mod traits;
mod variants;
