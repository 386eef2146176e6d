//! How numbers, times and names are shown. What was not measured is `–`, never 0.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use indicatif::{HumanBytes, HumanCount};
use reflow_tracing_protocol::ExecutionStatus;

/// Stands where nothing was measured.
pub const UNKNOWN: &str = "–";

/// `1,234`
pub fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// `1 run`, `2 runs`
pub fn several(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `1.21 MiB`
pub fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// `1.50 ms`
pub fn nanos(nanos: u64) -> String {
    span(Duration::from_nanos(nanos))
}

/// `1.50 ms`
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        0..100 => {
            let text = format!("{span:.2?}");
            let unit = text.find(|c: char| c.is_alphabetic() || c == 'µ').unwrap_or(text.len());
            format!("{} {}", &text[..unit], &text[unit..])
        }
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A figure that may not have been measured.
pub fn maybe<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

/// A time of day in the reader's own zone, to the millisecond.
pub fn time(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%H:%M:%S%.3f").to_string()
}

/// Date and time in the reader's own zone.
pub fn date(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A text from the network on one line: control characters, which could steer a terminal, become `·`.
pub fn plain(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => Cow::Owned(text.replace(char::is_control, "·")),
        false => Cow::Borrowed(text),
    }
}

/// A word of a command line that can be pasted into a shell.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,@%+=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

/// A text from the network on one line, cut to so many characters.
pub fn cut(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.into_owned(),
    }
}

/// A status in a word, or `failed: why`.
pub fn status(status: &ExecutionStatus) -> String {
    match status {
        ExecutionStatus::Pending => "pending".to_owned(),
        ExecutionStatus::Running => "running".to_owned(),
        ExecutionStatus::Completed => "completed".to_owned(),
        ExecutionStatus::Failed { error } if error.is_empty() => "failed".to_owned(),
        ExecutionStatus::Failed { error } => format!("failed: {}", cut(error, 60)),
        ExecutionStatus::Cancelled => "cancelled".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_fitting_unit() {
        let shown: Vec<String> = [950, 1_500, 2_500_000, 3_000_000_000, 125_000_000_000].map(nanos).into();
        assert_eq!(shown, ["950.00 ns", "1.50 µs", "2.50 ms", "3.00 s", "2 min 05 s"]);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_part_or_change_them() {
        let quoted = ["orders", "my flow", "it's", "$HOME", "", "wss://[::1]:8080"].map(shell_word);
        assert_eq!(quoted, ["orders", "'my flow'", r"'it'\''s'", "'$HOME'", "''", "'wss://[::1]:8080'"]);
    }

    #[test]
    fn names_from_the_network_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a·[2Jb·");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
