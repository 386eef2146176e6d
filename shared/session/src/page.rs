//! What a browser sees at `/`: what this is, and where to send programs.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use crate::capabilities::Shared;

/// The page. `host` is how the browser reached us.
pub(crate) fn response(shared: &Shared, host: Option<&str>) -> Response<Full<Bytes>> {
    let host = escape(host.unwrap_or("this-host:8080"));
    let service = shared.capabilities.service;
    let takes = if shared.capabilities.ingest.is_some() {
        "Point a Reflow program at it and its trace events are kept here."
    } else {
        "It answers questions about traces; events go to a collector."
    };
    let metrics = match shared.limits.metrics_address.as_str() {
        "" => "<p>Metrics are off.</p>".to_owned(),
        address => format!("<p>Metrics: <a href=\"{0}\">{0}</a></p>", escape(address)),
    };
    let body = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{service}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}</style>\n\
         <h1>{service}</h1>\n<p>This is Reflow Tracing, version {version}. {takes}</p>\n\
         <p>WebSocket: <code>ws://{host}/</code></p>\n{metrics}\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
