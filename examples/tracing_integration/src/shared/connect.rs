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
        return Err(Unreachable(advice(&client.config().server_url, &reason)).into());
    }
    Ok(client)
}

fn advice(server_url: &str, reason: &str) -> String {
    format!(
        "no tracing server answers at {server_url} ({reason})\n\
         start one with examples/tracing_integration/scripts/start_server.sh, or name another with --server-url"
    )
}

/// The address of the server's page, for people: `ws://host:1/` is `http://host:1/`. Of several servers, the first.
pub fn page(server_url: &str) -> String {
    let first = server_url.split(',').next().unwrap_or_default().trim();
    let page = first.replacen("ws", "http", 1);
    if page.ends_with('/') { page } else { format!("{page}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_the_protocol_is() {
        assert_eq!(page("ws://127.0.0.1:8080"), "http://127.0.0.1:8080/");
        assert_eq!(page("wss://news.example/ws/,ws://b"), "https://news.example/ws/");
    }
}
