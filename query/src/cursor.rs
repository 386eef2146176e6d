//! Where a page of traces ended, as text for clients to hand back.
//!
//! It is a place in the order (newest start first, then trace id), not a page number: traces that come meanwhile move nothing.

use uuid::Uuid;

use crate::refusal::Refusal;

/// `<start, µs since the epoch>.<trace id>`.
pub(crate) fn format(start_us: i64, trace_id: Uuid) -> String {
    format!("{start_us}.{}", trace_id.simple())
}

/// Reads what [`format`] wrote.
pub(crate) fn parse(text: &str) -> Result<(i64, Uuid), Refusal> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(start, id)| Some((start.parse().ok()?, Uuid::try_parse(id).ok()?)));
    read.ok_or_else(|| {
        Refusal::invalid(
            "after is not a place in a list: hand back `next` of the page before as it is, or leave it out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_is_understood() {
        let id = Uuid::new_v4();
        for start_us in [0, -5, i64::MIN, i64::MAX] {
            assert_eq!(parse(&format(start_us, id)), Ok((start_us, id)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", ".", "1.", ".6f1e", "1.x", "x.6f1e2d3c000040008000000000000000", "1 .6f1e2d3c000040008000000000000000"]
        {
            assert!(parse(text).unwrap_err().is_clients_fault(), "{text}");
        }
    }
}
