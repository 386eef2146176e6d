//! Stands between a program and a server, passes every frame on, and remembers it.
//!
//! What a published program sends can be known only by watching it: it emits events from many tasks, some of them before
//! it is connected, and says nothing about what it dropped. The proxy's record is the truth that stored traces are held
//! against.
//!
//! Frames pass unchanged and in order, in both directions. When the program ends without a close frame, so does the
//! proxy's connection to the server; but by closing its writing half only, and it goes on reading. That way each frame
//! on the record also arrives: a plain close with unread answers would reset the connection, and could destroy what the
//! server had not read yet. Without a server behind it, the proxy is a stand-in that takes everything and answers nothing.

use std::{
    net::Shutdown,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use crate::client::Client;

type Socket = WebSocketStream<TcpStream>;

/// How long a server may take to answer what was sent before a program hung up.
const AFTER_HANGING_UP: Duration = Duration::from_secs(60);

/// A recording proxy; stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    record: Arc<Mutex<Vec<Entry>>>,
    task: JoinHandle<()>,
}

/// One thing that happened on a connection.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Counts connections, from 0.
    pub connection: usize,
    /// When.
    pub at: Instant,
    /// What.
    pub what: Observation,
}

/// What can happen on a connection.
#[derive(Debug, Clone)]
pub enum Observation {
    /// The program connected.
    Opened,
    /// The program sent this text frame; it was passed on after it was recorded.
    Sent(String),
    /// The program sent something that is not a text frame.
    SentOther(Message),
    /// The server answered this.
    Answered(String),
    /// The program said goodbye with a close frame.
    SaidGoodbye,
    /// The program was gone without a close frame; the text says how it showed.
    HungUp(String),
    /// The server ended the connection, with a close frame or without.
    ServerEnded(String),
}

impl Proxy {
    /// Stands before the server at `upstream`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn before(upstream: &str) -> Result<Self> {
        Self::start(Some(upstream.to_owned())).await
    }

    /// Stands alone: takes everything, answers nothing.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn alone() -> Result<Self> {
        Self::start(None).await
    }

    async fn start(upstream: Option<String>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the proxy cannot listen")?;
        let url = format!("ws://{}/", listener.local_addr().context("the listener has no address")?);
        let record = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = Recorder { connection: count, record: Arc::clone(&shared) };
                count += 1;
                connections.spawn(serve(stream, upstream.clone(), recorder));
            }
        });
        Ok(Self { url, record, task })
    }

    /// The address that programs connect to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that happened so far, in order.
    #[must_use]
    pub fn record(&self) -> Vec<Entry> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The frames that programs sent so far, in order, as JSON.
    #[must_use]
    pub fn sent(&self) -> Vec<Value> {
        self.frames(|what| match what {
            Observation::Sent(text) => Some(text),
            _ => None,
        })
    }

    /// The events that programs sent so far, in order.
    #[must_use]
    pub fn sent_events(&self) -> Vec<Value> {
        self.sent().iter().filter_map(|frame| frame.pointer("/RecordEvent/event").cloned()).collect()
    }

    /// The answers of the server so far, in order, as JSON.
    #[must_use]
    pub fn answers(&self) -> Vec<Value> {
        self.frames(|what| match what {
            Observation::Answered(text) => Some(text),
            _ => None,
        })
    }

    fn frames(&self, pick: impl Fn(Observation) -> Option<String>) -> Vec<Value> {
        self.record()
            .into_iter()
            .filter_map(|entry| pick(entry.what))
            .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Recorder {
    connection: usize,
    record: Arc<Mutex<Vec<Entry>>>,
}

impl Recorder {
    fn note(&self, what: Observation) {
        let entry = Entry { connection: self.connection, at: Instant::now(), what };
        self.record.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

async fn serve(stream: TcpStream, upstream: Option<String>, recorder: Recorder) {
    // The server first: where it does not accept, the program must see a failed handshake.
    let server = match upstream {
        None => None,
        Some(url) => match Client::connect(&url).await {
            Ok(client) => Some(client.into_socket()),
            Err(error) => return recorder.note(Observation::ServerEnded(format!("{error:#}"))),
        },
    };
    let Ok(program_handle) = handle(&stream) else { return };
    let Ok(program) = accept_async(stream).await else {
        return recorder.note(Observation::HungUp("no handshake".to_owned()));
    };
    recorder.note(Observation::Opened);
    let (program_sink, program_stream) = program.split();
    let Some(server) = server else {
        // The sink is kept: dropping it would not close anything, but pings would have no way out.
        let _program_sink = program_sink;
        return forward(program_stream, None, &recorder).await;
    };
    let Ok(server_handle) = handle(server.get_ref()) else { return };
    let (server_sink, server_stream) = server.split();
    let gone = CancellationToken::new();
    let forwarding = async {
        forward(program_stream, Some(server_sink), &recorder).await;
        server_handle.shutdown(Shutdown::Write).ok();
        gone.cancel();
    };
    let answering = async {
        tokio::select! {
            () = answer(server_stream, program_sink, &recorder) => {}
            () = async { gone.cancelled().await; tokio::time::sleep(AFTER_HANGING_UP).await } => {
                recorder.note(Observation::ServerEnded(format!("still open {AFTER_HANGING_UP:?} after the program")));
            }
        }
        program_handle.shutdown(Shutdown::Both).ok();
    };
    tokio::join!(forwarding, answering);
}

/// A second handle on a socket, for closing one half of it while its halves are in use.
fn handle(stream: &TcpStream) -> std::io::Result<std::net::TcpStream> {
    Ok(std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))
}

/// From the program to the server, until the program is gone. Pings are answered here and not passed on.
async fn forward(
    mut program: SplitStream<Socket>,
    mut server: Option<SplitSink<Socket, Message>>,
    recorder: &Recorder,
) {
    let goodbye = loop {
        let message = match program.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(frame))) => {
                recorder.note(Observation::SaidGoodbye);
                break Some(Message::Close(frame));
            }
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                recorder.note(Observation::HungUp(error.to_string()));
                break None;
            }
            None => {
                recorder.note(Observation::HungUp("end of stream".to_owned()));
                break None;
            }
        };
        recorder.note(match &message {
            Message::Text(text) => Observation::Sent(text.to_string()),
            _ => Observation::SentOther(message.clone()),
        });
        if let Some(server) = &mut server
            && server.send(message).await.is_err()
        {
            return;
        }
    };
    if let Some(goodbye) = goodbye {
        if let Some(mut server) = server {
            server.send(goodbye).await.ok();
        }
        // The answer to a goodbye leaves with the next read.
        while let Some(Ok(_)) = program.next().await {}
    }
}

/// From the server to the program, until the server ends; answers that nobody reads any more are recorded too.
async fn answer(mut server: SplitStream<Socket>, mut program: SplitSink<Socket, Message>, recorder: &Recorder) {
    loop {
        match server.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                recorder.note(Observation::ServerEnded(format!("close frame {frame:?}")));
                program.send(Message::Close(frame)).await.ok();
                return;
            }
            Some(Ok(message)) => {
                if let Message::Text(text) = &message {
                    recorder.note(Observation::Answered(text.to_string()));
                }
                program.send(message).await.ok();
            }
            Some(Err(error)) => return recorder.note(Observation::ServerEnded(error.to_string())),
            None => return recorder.note(Observation::ServerEnded("end of stream".to_owned())),
        }
    }
}
