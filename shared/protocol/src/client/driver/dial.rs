//! Opens a connection in the newest protocol the server knows.
//!
//! v2 is asked for first. Where the handshake fails for that (a server that does not know a sub-protocol fails the handshake of most
//! clients), the connection is made again without, and the url remembered as one of v1 for ten minutes, by all clients of the process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use url::Url;
use web_time::Instant;

use super::super::settings::Token;
use super::super::shared::lock;
use super::super::transport::{ConnectError, Link, Target, connect};
use super::super::{Result, TracingError};
use crate::SUBPROTOCOL_V2;

/// For so long a server that did not know v2 is not asked for it again.
const REMEMBER_V1: Duration = Duration::from_secs(600);

static SPEAKS_V1: Mutex<Option<HashMap<Url, Instant>>> = Mutex::new(None);

/// The urls of a comma-separated list.
pub(crate) fn urls(list: &str) -> Result<Vec<Url>> {
    let bad = |url: &str, reason: &str| {
        let message = format!("`{url}` is no server url: {reason}; it must be like ws://host:8080 or wss://host");
        TracingError::ConnectionFailed(message)
    };
    let urls: Vec<Url> = list
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|text| {
            // A password in it must not show in an error.
            let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
            let mut url = Url::parse(text).map_err(|error| bad(shown, &error.to_string()))?;
            if !matches!(url.scheme(), "ws" | "wss") {
                return Err(bad(shown, "the scheme must be ws or wss"));
            }
            if url.host_str().is_none_or(str::is_empty) {
                return Err(bad(shown, "there is no host in it"));
            }
            url.set_fragment(None);
            Ok(url)
        })
        .collect::<Result<_>>()?;
    if urls.is_empty() { Err(bad(list, "it is empty")) } else { Ok(urls) }
}

/// A url as it may be shown: without name and password.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only where there can be neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Connects; says whether v2 is spoken.
pub(crate) async fn dial(url: Url, token: Option<Token>) -> std::result::Result<(Link, bool), ConnectError> {
    let target = Target { url, subprotocol: None, token };
    if !speaks_v1(&target.url) {
        match connect(&Target { subprotocol: Some(SUBPROTOCOL_V2), ..target.clone() }).await {
            Ok(link) => return Ok((link, true)),
            Err(ConnectError::SubProtocol(reason)) => {
                tracing::debug!(%reason, "the server does not know protocol v2, trying v1");
            }
            Err(error) => return Err(error),
        }
    }
    let link = connect(&target).await?;
    // Only now: a handshake can fail for other reasons that look the same.
    remember_v1(target.url);
    Ok((link, false))
}

fn speaks_v1(url: &Url) -> bool {
    let mut known = lock(&SPEAKS_V1);
    let known = known.get_or_insert_default();
    known.retain(|_, since| since.elapsed() < REMEMBER_V1);
    known.contains_key(url)
}

fn remember_v1(url: Url) {
    lock(&SPEAKS_V1).get_or_insert_default().entry(url).or_insert_with(Instant::now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_urls_may_be_given() {
        let list = urls("ws://a:1, wss://b/path ,").unwrap();
        assert_eq!(list.iter().map(Url::as_str).collect::<Vec<_>>(), ["ws://a:1/", "wss://b/path"]);
    }

    #[test]
    fn a_password_is_not_shown() {
        let url = &urls("wss://me:secret@host:1/path?a=b").unwrap()[0];
        assert_eq!(shown(url), "wss://host:1/path?a=b");
    }

    #[test]
    fn what_is_no_url_is_told_with_a_way_out() {
        for (text, reason) in [("", "empty"), ("localhost:8080", "scheme"), ("http://a", "scheme"), ("ws://", "host")] {
            let error = urls(text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("ws://host:8080"), "{text}: {error}");
        }
        let error = urls("http://me:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
