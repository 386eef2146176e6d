//! Getting a connection, or a clear word about why there is none, within three seconds.

use std::time::Duration;

use anyhow::Result;
use reflow_tracing_protocol::client::{ClientBuilder, TracingClient, TracingConfig};

use crate::shared::exit::{Unreachable, Usage};

/// How long a server may take to answer. Longer than a busy one on the other side of the world needs, shorter than patience.
const WITHIN: Duration = Duration::from_secs(3);

/// A connected client of this server, everything else by default.
///
/// # Errors
/// [`Unreachable`] when nobody answers in time.
pub async fn connect(server_url: &str) -> Result<TracingClient> {
    let config = TracingConfig { server_url: server_url.to_owned(), ..TracingConfig::default() };
    connect_with(TracingClient::builder(config)).await
}

/// A connected client.
///
/// # Errors
/// [`Usage`] when a setting cannot be; [`Unreachable`] when nobody answers in time.
pub async fn connect_with(builder: ClientBuilder) -> Result<TracingClient> {
    let client = builder.build().map_err(|error| Usage(error.to_string()))?;
    if let Err(error) = client.connect_within(WITHIN).await {
        let reason = client.last_error().unwrap_or_else(|| error.to_string());
        return Err(Unreachable(advice(&shown(&client.config().server_url), &reason)).into());
    }
    Ok(client)
}

fn advice(server_url: &str, reason: &str) -> String {
    format!(
        "no tracing server answers at {server_url} ({reason})\n\
         start one with examples/tracing_integration/scripts/start_server.sh, or name another with --server-url"
    )
}

/// Urls with commas between as they may be shown: without names and passwords.
pub fn shown(server_urls: &str) -> String {
    let one = |url: &str| match url.trim().split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.trim().to_owned(),
    };
    server_urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// The address of a server's page, for people: `ws://host:1/` is `http://host:1/`.
pub fn page(server_url: &str) -> String {
    let page = server_url.replacen("ws", "http", 1);
    if page.ends_with('/') { page } else { format!("{page}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_the_protocol_is() {
        assert_eq!(page("ws://127.0.0.1:8080"), "http://127.0.0.1:8080/");
        assert_eq!(page("wss://news.example/ws/"), "https://news.example/ws/");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("ws://me:se@cret@a:1/x@y, wss://b"), "ws://a:1/x@y,wss://b");
        assert_eq!(shown("ws://me:secret@a?b"), "ws://a?b");
    }
}
