//! Values that must never be printed, and the one place that decides what of them may be.
//!
//! A [`Secret`] shows, wherever it is printed, only what an operator needs to recognise it: the scheme, the host and the
//! path of a URL. The same masking is offered for free text ([`mask_urls`]), because errors from libraries may repeat a
//! URL they were given. When in doubt more is hidden, never less. It does not wipe memory: whoever can read the memory
//! of the process has its connections as well.

use std::fmt;

use serde::{Serialize, Serializer};

/// What stands in place of what was hidden.
pub const MASK: &str = "***";

/// A setting that holds a password or may hold one. Printed, debugged or serialised it is masked.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the library that connects with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the output of a masked print, taken for a value.
    pub(crate) fn is_masked(&self) -> bool {
        self.0.contains(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", mask(&self.0))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Masks a whole value: one URL, or several with commas between. What is not a URL is hidden entirely.
pub fn mask(value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    let starts = url_starts(value);
    if starts.first() != Some(&0) {
        return MASK.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    for (at, start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(value.len());
        mask_url(&value[*start..end], &mut out);
    }
    out
}

/// Masks every URL inside free text, such as the message of a library's error.
pub fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        match url_starts(word).first() {
            Some(start) => {
                out.push_str(&word[..*start]);
                let body = word[*start..].trim_end();
                out.push_str(&mask(body));
                out.push_str(&word[*start + body.len()..]);
            }
            None => out.push_str(word),
        }
    }
    out
}

/// Where each `scheme://` begins. A comma inside a password therefore does not split a URL in two.
fn url_starts(value: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    for (at, _) in value.match_indices("://") {
        let scheme = value[..at]
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .map_or(0, |before| before + value[before..].chars().next().map_or(1, char::len_utf8));
        // Only the beginning or a comma starts a new one: `u:a://b@host` is a strange password, not a second URL.
        let begins = scheme == 0 || starts.is_empty() || value[..scheme].ends_with(',');
        if scheme < at && begins {
            starts.push(scheme);
        }
    }
    starts
}

fn mask_url(url: &str, out: &mut String) {
    let Some(at) = url.find("://") else {
        out.push_str(MASK);
        return;
    };
    let (scheme, rest) = url.split_at(at + 3);
    out.push_str(scheme);
    // The last `@`, not the first: an unescaped password may hold `@`, `/` and `?`.
    let rest = match rest.rfind('@') {
        Some(end) => {
            // Without a colon the whole may be a token (NATS), so the name is hidden as well.
            if let Some((user, _)) = rest[..end].split_once(':') {
                out.push_str(user);
                out.push(':');
            }
            out.push_str(MASK);
            out.push('@');
            &rest[end + 1..]
        }
        None => rest,
    };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(host_end);
    // `user:password` with the host forgotten looks like host and port, but its port is no number.
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.trim_end_matches(',').bytes().all(|b| b.is_ascii_digit()) && !port.ends_with(']') =>
        {
            out.push_str(name);
            out.push(':');
            out.push_str(MASK);
        }
        _ => out.push_str(host),
    }
    // Parameters may hold a password too (`?password=`).
    match tail.find(['?', '#']) {
        Some(query) => {
            out.push_str(&tail[..=query]);
            out.push_str(MASK);
            if tail.ends_with(',') {
                out.push(',');
            }
        }
        None => out.push_str(tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stay_visible_and_passwords_do_not() {
        for (value, shown) in [
            ("postgres://reflow:hunter2@db.example:5432/traces", "postgres://reflow:***@db.example:5432/traces"),
            ("postgres://db/traces?sslmode=require&password=hunter2", "postgres://db/traces?***"),
            ("postgres://reflow:hun@ter/2?@db/traces", "postgres://reflow:***@db/traces"),
            ("redis://:hunter2@cache/0", "redis://:***@cache/0"),
            ("nats://hunter2@n1:4222", "nats://***@n1:4222"),
            ("nats://a:hunter2@n1:4222,nats://b:hunter2@n2", "nats://a:***@n1:4222,nats://b:***@n2"),
            ("nats://a:hun,ter2@n1,nats://n2:4222", "nats://a:***@n1,nats://n2:4222"),
            ("nats://n1:4222,n2:4222", "nats://n1:4222,n2:4222"),
            ("nats://reflow:hunter2", "nats://reflow:***"),
            ("postgres://[::1]:5432/x", "postgres://[::1]:5432/x"),
            ("postgres://[::1]/x", "postgres://[::1]/x"),
            ("u:a://hunter2", "***"),
            ("hunter2", "***"),
            ("", ""),
        ] {
            assert_eq!(mask(value), shown, "{value}");
        }
    }

    #[test]
    fn urls_in_free_text_are_masked() {
        let text = "cannot connect (postgres://u:hunter2@db/x) within 3 s\nnext: nats://hunter2@n: refused";
        let shown = mask_urls(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("cannot connect (postgres://u:***@db/x)") && shown.contains(" within 3 s\nnext:"),
            "{shown}"
        );
    }

    #[test]
    fn every_way_of_printing_is_masked() {
        let secret = Secret::new("postgres://u:hunter2@db/x");
        let json = serde_json::to_string(&secret).unwrap();
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{secret:#?}"), json] {
            assert!(!shown.contains("hunter2") && shown.contains("@db/x"), "{shown}");
        }
        assert_eq!(secret.expose(), "postgres://u:hunter2@db/x");
    }
}
