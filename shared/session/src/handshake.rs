//! HTTP on the protocol's port: an upgrade is the protocol, a plain GET on `/` a short page.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use reflow_tracing_protocol::{LIMITS_HEADER, SUBPROTOCOL_V2};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use crate::budget::BudgetedIo;
use crate::capabilities::Shared;
use crate::close::Ending;
use crate::outgoing::Outgoing;
use crate::page;
use crate::session::Session;

/// Small answers are gathered up to here before they are written.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// HTTP heads are small.
const HEAD_BUFFER_BYTES: usize = 16 << 10;

/// Serves one connection, from its first byte to its last. Without a `permit` the house is full.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
) {
    // Boxes, one for each stage: while a session idles, this task holds nothing of the stages before.
    let Some((on_upgrade, v2)) = Box::pin(http(&shared, stream, permit.is_none(), &stop)).await else { return };
    if let Some(session) = Box::pin(upgrade(&shared, on_upgrade, v2, stop)).await {
        shared.metrics.connections_total.with_label_values(&[if v2 { "v2" } else { "v1" }]).inc();
        shared.metrics.connections.inc();
        let ending = session.await;
        shared.metrics.connections.dec();
        tracing::debug!(?ending, "session ended");
    }
    drop(permit);
}

/// HTTP, until the upgrade: `None` when there is none.
async fn http(shared: &Shared, stream: TcpStream, full: bool, stop: &CancellationToken) -> Option<(OnUpgrade, bool)> {
    let (sender, mut upgraded) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let service = service_fn(|request: Request<Incoming>| {
        let response = if full { refuse_full(shared) } else { respond(shared, request, &sender) };
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.handshake_timeout)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "handshake failed");
            shared.metrics.connections_total.with_label_values(&["refused_handshake"]).inc();
        },
        () = stop.cancelled() => return None,
    }
    upgraded.try_recv().ok()
}

type Sender = std::sync::Mutex<Option<tokio::sync::oneshot::Sender<(OnUpgrade, bool)>>>;

fn respond(shared: &Shared, mut request: Request<Incoming>, sender: &Sender) -> Response<Full<Bytes>> {
    if request.uri().path() != "/" {
        return plain(StatusCode::NOT_FOUND, "there is only `/`: open it with a browser, or as WebSocket\n");
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, plain or with an upgrade to WebSocket\n");
    }
    let upgrade =
        has_token(&request, header::CONNECTION, "upgrade") && has_token(&request, header::UPGRADE, "websocket");
    if !upgrade {
        shared.metrics.connections_total.with_label_values(&["http"]).inc();
        return page::response(shared, request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    }
    let version_13 = request.headers().get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(key), Version::HTTP_11) = (version_13, key, request.version()) else {
        shared.metrics.connections_total.with_label_values(&["refused_handshake"]).inc();
        let mut refusal = plain(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket needs HTTP/1.1, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key\n",
        );
        refusal.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refusal;
    };
    let v2 = has_token(&request, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL_V2);
    let on_upgrade = hyper::upgrade::on(&mut request);
    if let Ok(mut sender) = sender.lock()
        && let Some(sender) = sender.take()
    {
        // The receiver lives as long as the connection.
        let _ = sender.send((on_upgrade, v2));
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if v2 {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL_V2));
        let limits = serde_json::to_string(&shared.limits.announced()).unwrap_or_default();
        if let Ok(limits) = HeaderValue::from_str(&limits) {
            headers.insert(LIMITS_HEADER, limits);
        }
    }
    response
}

/// The session that an upgrade begins, ready to run.
async fn upgrade(
    shared: &Arc<Shared>,
    on_upgrade: OnUpgrade,
    v2: bool,
    stop: CancellationToken,
) -> Option<BoxFuture<'static, Ending>> {
    let upgraded: Upgraded = on_upgrade.await.ok()?;
    // Back to the bare socket: nothing of HTTP stays in the way or in memory.
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let limits = &shared.limits;
    let socket = parts.io.into_inner();
    let io = BudgetedIo::new(socket, &shared.budget, &parts.read_buf, limits.max_frame_bytes, limits.read_buffer_bytes);
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer_bytes)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_frame_size(Some(limits.max_frame_bytes))
        .max_message_size(Some(limits.max_frame_bytes));
    let already_read = parts.read_buf.to_vec();
    let socket = WebSocketStream::from_partially_read(io, already_read, Role::Server, Some(config)).await;
    let out = Outgoing::new(socket, Arc::clone(shared));
    Some(Session::new(Arc::clone(shared), out, v2, stop).run().boxed())
}

/// Whether a header, given once or several times, lists a token.
fn has_token(request: &Request<Incoming>, name: header::HeaderName, token: &str) -> bool {
    let values = request.headers().get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

fn refuse_full(shared: &Shared) -> Response<Full<Bytes>> {
    shared.metrics.connections_total.with_label_values(&["refused_limit"]).inc();
    let max = shared.limits.max_connections;
    let mut refusal = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{max} connections are open (server.max_connections); try again later or another server\n"),
    );
    refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    refusal
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
