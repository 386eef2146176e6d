//! Names in headers: bounded, without NUL; and the flow name, a flow id without its generated tail.

use std::borrow::Cow;

use reflow_tracing_protocol::ExecutionStatus;

/// Longest name (actor, port, flow id, client id) that is accepted. Five of them must fit in one PostgreSQL index row (2,704 bytes).
pub const MAX_NAME_BYTES: usize = 512;

/// Longest error text kept in a header; the payload keeps all of it.
pub const MAX_ERROR_BYTES: usize = 1024;

/// A name as headers and stores hold it: NUL, which PostgreSQL cannot store, becomes `␀` (U+2400).
pub fn sanitize_name(name: &str) -> Cow<'_, str> {
    if name.contains('\0') { Cow::Owned(name.replace('\0', "\u{2400}")) } else { Cow::Borrowed(name) }
}

/// An error text as headers hold it: without NUL, cut at a character boundary to [`MAX_ERROR_BYTES`].
pub fn sanitize_error(message: &str) -> String {
    let mut text = sanitize_name(message).into_owned();
    if text.len() > MAX_ERROR_BYTES {
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    }
    text
}

/// A status as headers hold it, its error text included: what one that was asked for is compared as.
pub fn sanitize_status(status: ExecutionStatus) -> ExecutionStatus {
    match status {
        ExecutionStatus::Failed { error } => ExecutionStatus::Failed { error: sanitize_error(&error) },
        other => other,
    }
}

/// Whether a tenant name matches `[a-z0-9-]{1,32}`.
pub fn valid_tenant(tenant: &str) -> bool {
    (1..=32).contains(&tenant.len())
        && tenant.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The bus subject's flow token: 8 hex digits of a stable hash (FNV-1a, 32 bit) of the flow name, `_` while unknown.
pub fn flow_hash(flow_name: Option<&str>) -> String {
    let Some(name) = flow_name else { return "_".to_owned() };
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// How a flow id becomes a flow name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNaming {
    /// Cut a generated tail (`_` or `-` before a UUID, `_` before 9 digits or more).
    pub strip_generated_tail: bool,
}

impl Default for FlowNaming {
    fn default() -> Self {
        Self { strip_generated_tail: true }
    }
}

impl FlowNaming {
    /// The flow name of a flow id. A flow id that is nothing but a tail is its own name.
    pub fn name_of<'a>(&self, flow_id: &'a str) -> &'a str {
        if !self.strip_generated_tail {
            return flow_id;
        }
        let stem = strip_digits(flow_id).or_else(|| strip_uuid(flow_id)).unwrap_or(flow_id);
        if stem.is_empty() { flow_id } else { stem }
    }
}

fn strip_digits(flow_id: &str) -> Option<&str> {
    let (stem, tail) = flow_id.rsplit_once('_')?;
    (tail.len() >= 9 && tail.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
}

fn strip_uuid(flow_id: &str) -> Option<&str> {
    let start = flow_id.len().checked_sub(36)?;
    let tail = flow_id.get(start..)?;
    uuid::Uuid::try_parse(tail).ok()?;
    let stem = &flow_id[..start];
    Some(stem.strip_suffix(['_', '-']).unwrap_or(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tails_are_cut() {
        let naming = FlowNaming::default();
        assert_eq!(naming.name_of("network_session_1763900000"), "network_session");
        assert_eq!(naming.name_of("orders_12345678"), "orders_12345678");
        assert_eq!(naming.name_of("orders-6f1e2d3c-0000-4000-8000-000000000000"), "orders");
        assert_eq!(naming.name_of("6f1e2d3c-0000-4000-8000-000000000000"), "6f1e2d3c-0000-4000-8000-000000000000");
        assert_eq!(naming.name_of("_123456789"), "_123456789");
        assert_eq!(naming.name_of("größe"), "größe");
        assert_eq!(FlowNaming { strip_generated_tail: false }.name_of("a_123456789"), "a_123456789");
    }

    #[test]
    fn nul_and_length_are_mended() {
        assert_eq!(sanitize_name("a\0b"), "a\u{2400}b");
        assert!(sanitize_error(&"ä".repeat(2000)).len() <= MAX_ERROR_BYTES);
    }

    #[test]
    fn tenants_are_checked() {
        assert!(valid_tenant("team-7"));
        assert!(!valid_tenant("") && !valid_tenant("A") && !valid_tenant("a.b") && !valid_tenant(&"a".repeat(33)));
    }
}
