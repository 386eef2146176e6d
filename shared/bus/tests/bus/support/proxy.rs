//! A connection between one client and its server that can be cut, stalled or slowed down, while others stay as they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Connections are closed, new ones too.
    Cut,
    /// Connections stay, nothing goes through.
    Stalled,
    /// Whatever goes through takes so long, each way.
    Slow(Duration),
}

pub struct Proxy {
    scheme: String,
    port: u16,
    state: Arc<watch::Sender<State>>,
}

impl Proxy {
    /// In front of `nats://127.0.0.1:port` or `redis://127.0.0.1:port`.
    pub async fn start(url: &str) -> Self {
        let (scheme, server) = url.split_once("://").unwrap();
        let (scheme, server) = (scheme.to_owned(), server.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State::Open));
        let states = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *states.borrow() == State::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (client_reader, client_writer) = client.into_split();
                let (server_reader, server_writer) = server.into_split();
                tokio::spawn(forward(client_reader, server_writer, states.subscribe()));
                tokio::spawn(forward(server_reader, client_writer, states.subscribe()));
            }
        });
        Self { scheme, port, state }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    pub fn slow_down(&self, each_way: Duration) {
        self.state.send_replace(State::Slow(each_way));
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if state.wait_for(|state| *state != State::Stalled).await.map_or(true, |state| *state == State::Cut) {
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(read @ 1..) => {
                    let now = *state.borrow();
                    if let State::Slow(each_way) = now {
                        tokio::time::sleep(each_way).await;
                    }
                    if to.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}
