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
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest,
        handshake::client::Response,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
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
    welcome: Option<Value>,
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

    /// Connects with v2, and takes the server's welcome.
    ///
    /// # Errors
    /// When nobody listens, or the server did not choose v2 or does not say welcome.
    pub async fn connect_v2(url: &str) -> Result<Self> {
        let mut client = Self::connect_with(url, Some(V2)).await?;
        if client.protocol() != Some(V2) {
            bail!("the server chose {:?} instead of {V2}", client.protocol());
        }
        let first = client.recv_json().await?;
        client.welcome = Some(first.get("Welcome").with_context(|| format!("not a welcome: {first:.500}"))?.clone());
        Ok(client)
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
        Ok(Self { socket, handshake, welcome: None })
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

    /// One of the limits that a v2 server announced in its welcome, by its name.
    ///
    /// # Errors
    /// When it announced no such limit.
    pub fn limit(&self, name: &str) -> Result<u64> {
        let limit = self.welcome.as_ref().and_then(|welcome| welcome["limits"][name].as_u64());
        limit.with_context(|| format!("no limit {name} in {:?}", self.welcome))
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
    pub async fn feed_text(&mut self, text: impl Into<Utf8Bytes>) -> Result<()> {
        tokio::time::timeout(patience(), self.socket.feed(Message::Text(text.into())))
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
        match tokio::time::timeout(timeout, self.next()).await {
            Err(_) => Ok(None),
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(ending)) => bail!("the connection has ended: {ending:?}"),
        }
    }

    /// The next answer, or how the connection ended, for requests that may well end it.
    ///
    /// # Errors
    /// When neither comes for a long time, or the answer is not JSON in a text frame.
    pub async fn answer_or_ending(&mut self) -> Result<std::result::Result<Value, Ending>> {
        match tokio::time::timeout(patience(), self.next()).await.context("neither an answer nor an end")? {
            Ok(message) => Ok(Ok(parse(&message)?)),
            Err(ending) => Ok(Err(ending)),
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

    /// Sends all requests without waiting in between, and gives as many answers, in their order.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_all(&mut self, requests: &[Value]) -> Result<Vec<Value>> {
        let (mut sink, mut stream) = (&mut self.socket).split();
        let sending = async {
            for request in requests {
                sink.feed(Message::text(request.to_string())).await.context("cannot send")?;
            }
            sink.flush().await.context("cannot send")
        };
        let receiving = async {
            let mut answers = Vec::with_capacity(requests.len());
            while answers.len() < requests.len() {
                match tokio::time::timeout(patience(), stream.next()).await {
                    Err(_) => bail!("nothing comes after {} of {} answers", answers.len(), requests.len()),
                    Ok(None) => bail!("the connection has ended after {} answers", answers.len()),
                    Ok(Some(Err(error))) => return Err(error).context("the connection broke"),
                    Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                    Ok(Some(Ok(message))) => answers.push(parse(&message)?),
                }
            }
            Ok(answers)
        };
        Ok(tokio::try_join!(sending, receiving)?.1)
    }

    /// Reads and forgets until the connection ends, and says how it did.
    ///
    /// # Errors
    /// When it does not end for a long time.
    pub async fn ending(&mut self) -> Result<Ending> {
        let wait = async {
            loop {
                if let Err(ending) = self.next().await {
                    return ending;
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

    /// The next message that is not a ping or a pong, or the end.
    async fn next(&mut self) -> std::result::Result<Message, Ending> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    // The answer to a goodbye lies in the buffer and would leave with the next read.
                    self.socket.flush().await.ok();
                    self.socket.get_mut().shutdown().await.ok();
                    return Err(Ending::Closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                }
                Some(Ok(message)) => return Ok(message),
                Some(Err(Error::ConnectionClosed)) | None => return Err(Ending::Closed(None)),
                Some(Err(error)) => return Err(Ending::Broken(error.to_string())),
            }
        }
    }
}

fn parse(message: &Message) -> Result<Value> {
    match message {
        Message::Text(text) => {
            serde_json::from_str(text.as_str()).with_context(|| format!("the answer is not JSON: {text}"))
        }
        other => bail!("the answer is not a text frame but {} bytes of another kind", other.len()),
    }
}
