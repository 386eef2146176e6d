//! Marks as bytes whose byte order is the order the merge goes by.
//!
//! "The earliest failure", "the greatest end", "the version told by the earliest start" are minima and maxima over pairs of a time
//! and a value. Written as one byte string, time first, `min` and `max` of SQLite, `LEAST` and `GREATEST` of PostgreSQL and `Ord` of
//! Rust all agree on them: one merge rule for three backends, without a collation in it.

use prost::Message;
use reflow_tracing_chunk::{EndMark, ErrorMark, Version};

const TIME_BYTES: usize = 8;

/// Big endian with the sign bit flipped: unsigned byte order is then numeric order.
fn time_key(time_us: i64) -> [u8; TIME_BYTES] {
    (time_us ^ i64::MIN).to_be_bytes()
}

fn split_time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (time, rest) = bytes.split_first_chunk::<TIME_BYTES>()?;
    Some((i64::from_be_bytes(*time) ^ i64::MIN, rest))
}

/// Least is earliest, then least message.
pub(crate) fn error_key(mark: &ErrorMark) -> Vec<u8> {
    [&time_key(mark.at_us)[..], mark.message.as_bytes()].concat()
}

pub(crate) fn read_error(bytes: &[u8]) -> Option<ErrorMark> {
    let (at_us, message) = split_time(bytes)?;
    Some(ErrorMark { at_us, message: String::from_utf8(message.to_vec()).ok()? })
}

/// Greatest is latest, then graver status, then greater text: [`EndMark::order`].
pub(crate) fn end_key(mark: &EndMark) -> Vec<u8> {
    let status = u8::try_from(mark.status).unwrap_or(u8::MAX);
    [&time_key(mark.at_us)[..], &[status], mark.error.as_bytes()].concat()
}

pub(crate) fn read_end(bytes: &[u8]) -> Option<EndMark> {
    let (at_us, rest) = split_time(bytes)?;
    let (status, error) = rest.split_first()?;
    Some(EndMark { at_us, status: i32::from(*status), error: String::from_utf8(error.to_vec()).ok()? })
}

/// Least is what came with the earliest start, then the least bytes.
pub(crate) fn ranked(rank_us: i64, value: &[u8]) -> Vec<u8> {
    [&time_key(rank_us)[..], value].concat()
}

pub(crate) fn read_ranked_version(bytes: &[u8]) -> Option<Version> {
    let (_, value) = split_time(bytes)?;
    Version::decode(value).ok()
}

pub(crate) fn read_ranked_text(bytes: &[u8]) -> Option<String> {
    let (_, value) = split_time(bytes)?;
    String::from_utf8(value.to_vec()).ok()
}

/// Keeps the lesser; a value beats none.
pub(crate) fn least<T: Ord>(mine: &mut Option<T>, theirs: Option<T>) {
    if let Some(theirs) = theirs
        && mine.as_ref().is_none_or(|mine| theirs < *mine)
    {
        *mine = Some(theirs);
    }
}

/// Keeps the greater; a value beats none.
pub(crate) fn greatest<T: Ord>(mine: &mut Option<T>, theirs: Option<T>) {
    if let Some(theirs) = theirs
        && mine.as_ref().is_none_or(|mine| theirs > *mine)
    {
        *mine = Some(theirs);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reflow_tracing_chunk::EndStatus;

    use super::*;

    proptest! {
        #[test]
        fn byte_order_of_ends_is_their_order(a in end(), b in end()) {
            prop_assert_eq!(end_key(&a).cmp(&end_key(&b)), a.order(&b));
            prop_assert_eq!(read_end(&end_key(&a)), Some(a));
        }

        #[test]
        fn byte_order_of_errors_is_their_order(a in error(), b in error()) {
            prop_assert_eq!(error_key(&a).cmp(&error_key(&b)), a.cmp(&b));
            prop_assert_eq!(read_error(&error_key(&a)), Some(a));
        }
    }

    fn end() -> impl Strategy<Value = EndMark> {
        (-3_i64..3, 0..3_i32, "[a-bä]{0,2}").prop_map(|(at_us, status, error)| {
            let status = EndStatus::try_from(status).unwrap_or(EndStatus::Completed);
            EndMark { at_us, status: status.into(), error }
        })
    }

    fn error() -> impl Strategy<Value = ErrorMark> {
        (prop_oneof![-3_i64..3, Just(i64::MIN), Just(i64::MAX)], "[a-bä]{0,2}")
            .prop_map(|(at_us, message)| ErrorMark { at_us, message })
    }
}
