//! The seam between the client and the world it runs in: frames over a WebSocket, timers, and where the background runs.
//!
//! The driver knows nothing but what is here, so native programs and browsers share it. `native.rs` (tokio, tungstenite) and `web/`
//! (web-sys) each provide:
//!
//! - `Link`: an open WebSocket, `Stream<Item = Result<Frame, LinkError>> + Sink<Frame, Error = LinkError> + Unpin`. It answers
//!   pings itself and ends after a close frame. Closing the sink sends a close frame. `heard()` is when the server last gave a sign of life.
//! - `connect(&Target) -> Result<Link, ConnectError>`.
//! - `run(future)`: runs the driver in the background, for as long as the future runs. The future is made there, since it is not
//!   `Send`.
//! - `spawn(future)`: runs a task beside the driver; only from within what `run` runs.
//! - `sleep(duration)`.
//! - `Background` and `join(&Background, at_most)`: waits until what `run` runs has ended; where nothing can wait, it returns at once.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use url::Url;

use super::settings::Token;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Background, Link, connect, join, run, sleep, spawn};

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub(crate) use web::{Background, Link, connect, join, run, sleep, spawn};

/// A future of this thread.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What goes over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Bytes),
}

impl Frame {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Whom to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    /// Offered in the handshake.
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) token: Option<Token>,
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The handshake failed in the way it does where the sub-protocol is not known.
    #[error("the server does not know the sub-protocol: {0}")]
    SubProtocol(String),
    /// Anything else, with the reason.
    #[error("{0}")]
    Failed(String),
}

/// Why a connection broke.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LinkError(pub(crate) String);
