//! A WebSocket client that does what a test tells it to, and nothing by itself.
//!
//! It is not the product's client: it neither reconnects, nor buffers, nor checks what it sends, so that tests can send
//! wrong things and see exactly what comes back. Its limits are those of published clients (16 MiB a frame, 64 MiB a
//! message), so that an answer which those would refuse is refused here.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Response,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::CloseFrame,
    },
};

use crate::eventually::patience;

/// The sub-protocol that selects v2.
pub const V2: &str = "reflow-tracing.v2";

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    handshake: Response,
}

/// How a connection ended, seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The server said goodbye, with a code and a reason or without.
    Closed(Option<(u16, String)>),
    /// The connection broke without a goodbye.
    Broken(String),
}

impl Client {
    /// Connects as published v1 clients do: without a sub-protocol.
    ///
    /// # Errors
    /// When nobody listens or the handshake is refused.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, None).await
    }

    /// Connects with v2.
    ///
    /// # Errors
    /// When nobody listens, or the server did not choose v2.
    pub async fn connect_v2(url: &str) -> Result<Self> {
        let client = Self::connect_with(url, Some(V2)).await?;
        match client.protocol() {
            Some(V2) => Ok(client),
            other => bail!("the server chose {other:?} instead of {V2}"),
        }
    }

    /// Connects, asking for a sub-protocol or for none.
    ///
    /// # Errors
    /// When nobody listens or the handshake is refused.
    pub async fn connect_with(url: &str, protocol: Option<&str>) -> Result<Self> {
        let mut request = url.into_client_request().with_context(|| format!("{url} is no address"))?;
        if let Some(protocol) = protocol {
            let value = HeaderValue::from_str(protocol).context("a sub-protocol is a token")?;
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        let authority = request.uri().authority().context("the address has no host")?.to_string();
        let connect = async {
            let stream = TcpStream::connect(&authority).await?;
            stream.set_nodelay(true)?;
            anyhow::Ok(client_async(request, stream).await?)
        };
        let (socket, handshake) = tokio::time::timeout(patience(), connect)
            .await
            .with_context(|| format!("{url} does not answer the handshake"))?
            .with_context(|| format!("cannot connect to {url}"))?;
        Ok(Self { socket, handshake })
    }

    /// The sub-protocol that the server chose.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.header(SEC_WEBSOCKET_PROTOCOL.as_str())
    }

    /// A header of the server's handshake.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.handshake.headers().get(name)?.to_str().ok()
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// When the connection is gone, or the server does not read for a long time.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Message::text(text.into())).await
    }

    /// Sends a value as a text frame.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_json(&mut self, value: &Value) -> Result<()> {
        self.send_text(value.to_string()).await
    }

    /// Sends a binary frame.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.send(Message::binary(bytes.into())).await
    }

    /// Sends any message.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send(&mut self, message: Message) -> Result<()> {
        tokio::time::timeout(patience(), self.socket.send(message))
            .await
            .context("the server does not read")?
            .context("cannot send")
    }

    /// Puts a text frame into the buffer; [`flush`](Self::flush) sends what is there. For load: one write for many
    /// frames.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn feed_text(&mut self, text: impl Into<String>) -> Result<()> {
        tokio::time::timeout(patience(), self.socket.feed(Message::text(text.into())))
            .await
            .context("the server does not read")?
            .context("cannot send")
    }

    /// Sends what was fed.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn flush(&mut self) -> Result<()> {
        tokio::time::timeout(patience(), self.socket.flush())
            .await
            .context("the server does not read")?
            .context("cannot send")
    }

    /// The next message that is not a ping or a pong; pings are answered.
    ///
    /// # Errors
    /// When the connection ends, or nothing comes for a long time.
    pub async fn recv(&mut self) -> Result<Message> {
        self.recv_within(patience()).await?.context("nothing comes")
    }

    /// The next message within `timeout`, or `None`.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn recv_within(&mut self, timeout: Duration) -> Result<Option<Message>> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            match tokio::time::timeout_at(deadline, self.socket.next()).await {
                Err(_) => return Ok(None),
                Ok(None) => bail!("the connection has ended"),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(Some(Ok(Message::Close(frame)))) => bail!("the server closed the connection: {frame:?}"),
                Ok(Some(Ok(message))) => return Ok(Some(message)),
                Ok(Some(Err(error))) => return Err(error).context("the connection broke"),
            }
        }
    }

    /// The next answer, which must be JSON in a text frame.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or when it is something else.
    pub async fn recv_json(&mut self) -> Result<Value> {
        parse(&self.recv().await?)
    }

    /// The next answer within `timeout`, or `None`.
    ///
    /// # Errors
    /// As [`recv_within`](Self::recv_within), or when it is not JSON in a text frame.
    pub async fn recv_json_within(&mut self, timeout: Duration) -> Result<Option<Value>> {
        self.recv_within(timeout).await?.as_ref().map(parse).transpose()
    }

    /// Sends a request and gives the next answer. Only for connections on which nothing else is under way.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text) and [`recv_json`](Self::recv_json).
    pub async fn ask(&mut self, request: &Value) -> Result<Value> {
        self.send_json(request).await?;
        self.recv_json().await
    }

    /// Reads and forgets until the connection ends, and says how it did.
    ///
    /// # Errors
    /// When it does not end for a long time.
    pub async fn ending(&mut self) -> Result<Ending> {
        let wait = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return Ending::Closed(frame.map(code_and_reason)),
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => return Ending::Closed(None),
                    Some(Err(error)) => return Ending::Broken(error.to_string()),
                }
            }
        };
        tokio::time::timeout(patience(), wait).await.context("the connection does not end")
    }

    /// Says goodbye and waits for the server's.
    ///
    /// # Errors
    /// When the server does not answer the close frame.
    pub async fn close(mut self) -> Result<Ending> {
        self.socket.close(None).await.context("cannot say goodbye")?;
        self.ending().await
    }

    /// Ends the connection without a close frame, as a program that exits does.
    pub fn hang_up(self) {
        drop(self);
    }

    /// Takes the connection apart, for tests that send and receive at the same time.
    #[must_use]
    pub fn into_socket(self) -> WebSocketStream<TcpStream> {
        self.socket
    }
}

fn code_and_reason(frame: CloseFrame) -> (u16, String) {
    (frame.code.into(), frame.reason.to_string())
}

fn parse(message: &Message) -> Result<Value> {
    match message {
        Message::Text(text) => {
            serde_json::from_str(text.as_str()).with_context(|| format!("the answer is not JSON: {text}"))
        }
        other => bail!("the answer is not a text frame but {} bytes of another kind", other.len()),
    }
}
