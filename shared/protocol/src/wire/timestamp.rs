//! Times as RFC 3339 has them, quickly: `2026-01-31T23:59:59.123456789Z`, with a fraction of up to nine digits or none.
//!
//! That is how every client writes them. What is written in any other way (an offset, a blank, a leap second) chrono reads, as it
//! would have read all of them, at ten times the cost.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer};

use super::event::Str;

/// For `#[serde(deserialize_with)]`: reads what `DateTime<Utc>` reads.
///
/// # Errors
/// As chrono has it.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let Str(text) = Str::deserialize(deserializer)?;
    match parse(&text) {
        Some(time) => Ok(time),
        None => DateTime::deserialize(serde::de::value::StrDeserializer::new(&text)),
    }
}

/// Reads the usual form; `None` for any other.
pub(super) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let (head, tail) = text.as_bytes().split_first_chunk::<19>()?;
    let marks = [head[4], head[7], head[10], head[13], head[16]];
    if marks != *b"--T::" {
        return None;
    }
    let number = |places: std::ops::Range<usize>| digits(&head[places]);
    let date = NaiveDate::from_ymd_opt(number(0..4)? as i32, number(5..7)?, number(8..10)?)?;
    let nanos = match tail {
        b"Z" => 0,
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => {
            digits(fraction)? * 10_u32.pow(9 - fraction.len() as u32)
        }
        _ => return None,
    };
    let time = date.and_hms_nano_opt(number(11..13)?, number(14..16)?, number(17..19)?, nanos)?;
    Some(time.and_utc())
}

/// At most nine digits.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_chrono(text: &str) -> Option<DateTime<Utc>> {
        serde_json::from_value(serde_json::Value::from(text)).ok()
    }

    #[test]
    fn usual_times_are_read_here() {
        for text in ["2026-11-23T14:52:45.991922770Z", "2026-11-23T14:52:45Z", "0000-02-29T00:00:00.1Z"] {
            assert_eq!(parse(text), by_chrono(text), "{text}");
            assert!(parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn unusual_times_are_left_to_chrono() {
        for text in [
            "2026-11-23T14:52:45+01:00",
            "2026-11-23 14:52:45Z",
            "2026-11-23T14:52:60Z",
            "2026-11-23T14:52:45.0000000001Z",
            "2026-02-30T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T14:52:45.Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_chrono_reads_the_same(text in "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?Z?") {
            if let Some(time) = parse(&text) {
                prop_assert_eq!(Some(time), by_chrono(&text));
            }
        }
    }
}
