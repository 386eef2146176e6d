//! Native programs: a thread of its own with a small tokio runtime, so that tracing works without or beyond the program's.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use web_time::Instant;

use super::{ConnectError, Frame, LinkError, LocalFuture, Target};

/// Answers of history may be 64 MiB; a little more for what stands around them.
const MAX_MESSAGE_BYTES: usize = 65 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An open WebSocket.
pub(crate) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard: Instant,
}

impl Link {
    /// When the server was last heard of: by a frame, or by a ping, which is all that comes while it has nothing to say.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }
}

/// Opens a WebSocket.
pub(crate) async fn connect(target: &Target) -> Result<Link, ConnectError> {
    let failed = |error: &dyn std::fmt::Display| ConnectError::Failed(error.to_string());
    let mut request = target.url.as_str().into_client_request().map_err(|error| failed(&error))?;
    if let Some(subprotocol) = target.subprotocol {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    if let Some(token) = &target.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| ConnectError::Failed("the token holds what no HTTP header can".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let connector = connector(target)?;
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok((socket, _))) => Ok(Link { socket, heard: Instant::now() }),
        Ok(Err(error)) if target.subprotocol.is_some() && refuses_subprotocol(&error) => {
            Err(ConnectError::SubProtocol(error.to_string()))
        }
        Ok(Err(WsError::Http(response))) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Err(ConnectError::Failed(format!("the server answers {}: {}", response.status(), body.trim())))
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(ConnectError::Failed(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// Servers that do not know a sub-protocol leave it out of their answer, or refuse the request as a bad one.
fn refuses_subprotocol(error: &WsError) -> bool {
    match error {
        WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => true,
        WsError::Http(response) => matches!(
            response.status(),
            http::StatusCode::BAD_REQUEST | http::StatusCode::NOT_IMPLEMENTED | http::StatusCode::UPGRADE_REQUIRED
        ),
        _ => false,
    }
}

#[cfg(feature = "tls")]
fn connector(target: &Target) -> Result<Connector, ConnectError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if target.url.scheme() != "wss" {
        return Ok(Connector::Plain);
    }
    if let Some(config) = CONFIG.get() {
        return Ok(Connector::Rustls(Arc::clone(config)));
    }
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(ConnectError::Failed(
            "no root certificates were found on this machine (SSL_CERT_FILE names a file of them); wss:// needs one"
                .to_owned(),
        ));
    }
    // Named, not taken from the process: the program may have chosen another provider, or none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::clone(CONFIG.get_or_init(|| Arc::new(config)))))
}

#[cfg(not(feature = "tls"))]
fn connector(target: &Target) -> Result<Connector, ConnectError> {
    if target.url.scheme() == "wss" {
        return Err(ConnectError::Failed(
            "wss:// needs the crate's feature `tls`, which this build has not".to_owned(),
        ));
    }
    Ok(Connector::Plain)
}

impl Stream for Link {
    type Item = Result<Frame, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(LinkError(error.to_string())))),
                Some(Ok(message)) => message,
            };
            self.heard = Instant::now();
            match message {
                Message::Text(text) => return Poll::Ready(Some(Ok(Frame::Text(text.as_str().to_owned())))),
                Message::Binary(bytes) => return Poll::Ready(Some(Ok(Frame::Binary(bytes)))),
                Message::Close(Some(frame)) => {
                    let reason = format!("the server closed: {} ({})", frame.reason, frame.code);
                    return Poll::Ready(Some(Err(LinkError(reason))));
                }
                Message::Close(None) => return Poll::Ready(None),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl Sink<Frame> for Link {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Pin::new(&mut self.socket).poll_ready(cx).map_err(broken)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), LinkError> {
        let message = match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        Pin::new(&mut self.socket).start_send(message).map_err(broken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}

fn broken(error: WsError) -> LinkError {
    LinkError(error.to_string())
}

/// The thread in which the background runs.
pub(crate) type Background = JoinHandle<()>;

/// Runs what `make` makes on a thread of its own.
pub(crate) fn run(make: impl FnOnce() -> LocalFuture<()> + Send + 'static) -> std::io::Result<Background> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new()
        .name("reflow-tracing".to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, make()))
}

/// Waits until the background has ended, at most so long.
pub(crate) fn join(background: &Background, at_most: Duration) {
    let until = std::time::Instant::now() + at_most;
    while !background.is_finished() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a task beside the driver.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(future);
}

/// Sleeps.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
