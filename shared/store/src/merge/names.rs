//! Names as the store keys by them.

use std::borrow::Cow;

use reflow_tracing_chunk::{MAX_NAME_BYTES, sanitize_name};
use uuid::Uuid;

/// Where what is over a cardinality limit is counted.
pub(crate) const OTHER: &str = "other";

/// Flow name of chunks whose flow was not known when they came.
pub(crate) const UNKNOWN_FLOW: &str = "_";

/// Headers hold names that are bounded and free of NUL already; one built by other hands may not, and PostgreSQL can store neither
/// NUL nor an index row of any length.
pub(crate) fn key_text(name: &str) -> Cow<'_, str> {
    let name = sanitize_name(name);
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    Cow::Owned(name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned())
}

/// What `trace_actors` is keyed by: 8 bytes of a SHA-1 over tenant and actor instead of up to 512 bytes of name in two indexes a
/// row. Two actors of one tenant share a key with a chance of one in 2^62 a pair.
pub(crate) fn actor_key(tenant: &str, actor: &str) -> i64 {
    let mut text = Vec::with_capacity(tenant.len() + 1 + actor.len());
    text.extend_from_slice(tenant.as_bytes());
    text.push(0);
    text.extend_from_slice(actor.as_bytes());
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, &text);
    // The low half: the high one has the version's fixed bits in the middle.
    hash.as_u64_pair().1.cast_signed()
}
