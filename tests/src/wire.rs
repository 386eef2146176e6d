//! A TCP proxy that stops at chosen bytes: for what was sent and never arrived.
//!
//! A crash between two steps is hard to hit by chance and easy to make: stand between the two parties, let everything
//! pass up to the bytes that would complete the second step, hold those back, and kill the sender. Without a stop, bytes
//! pass unchanged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::eventually::patience;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected.
    ToServer,
    /// From whom it connected to.
    ToClient,
}

/// The proxy; its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What to stop at.
    armed: Option<(Direction, Vec<u8>)>,
    /// Which way nothing passes any more.
    held: Option<Direction>,
}

impl Wire {
    /// Stands before the server that listens on a port of 127.0.0.1, or will.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the proxy cannot listen")?;
        let port = listener.local_addr().context("the listener has no address")?.port();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server, Arc::clone(&state)));
            }
        });
        Ok(Self { port, shared, task })
    }

    /// Where to connect instead.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From the next `bytes` on nothing passes in this direction, on no connection, until [`release`](Self::release).
    pub fn stop_at(&self, direction: Direction, bytes: &[u8]) {
        self.shared.state().armed = Some((direction, bytes.to_vec()));
    }

    /// Returns once those bytes came and were held back.
    ///
    /// # Errors
    /// When they do not come for a long time.
    pub async fn stopped(&self) -> Result<()> {
        let wait = self.shared.until(|state| state.held.is_some());
        tokio::time::timeout(patience(), wait).await.context("the bytes to stop at never came")
    }

    /// Lets new connections pass everything again, and cuts those on which bytes were held back.
    pub fn release(&self) {
        *self.shared.state() = State::default();
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// How much of what was read may pass, `None` for all of it. `before` is what passed last: the bytes to stop at may
    /// begin in it, and then a part of them has passed already, which is no more use to the receiver than none.
    fn passing(&self, direction: Direction, before: &[u8], read: &[u8]) -> Option<usize> {
        let mut state = self.state();
        if state.held == Some(direction) {
            return Some(0);
        }
        let (armed, bytes) = state.armed.as_ref()?;
        if *armed != direction {
            return None;
        }
        let all = [before, read].concat();
        let found = all.windows(bytes.len()).position(|window| window == bytes)?;
        state.held = Some(direction);
        state.armed = None;
        drop(state);
        self.changed.notify_waiters();
        Some(found.saturating_sub(before.len()))
    }
}

async fn pass(client: TcpStream, server: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    // When one direction ends, the connection is cut in both.
    tokio::select! {
        () = pump(client_read, server_write, Direction::ToServer, &shared) => {}
        () = pump(server_read, client_write, Direction::ToClient, &shared) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Direction, shared: &Shared) {
    const KEPT: usize = 128;
    let mut buffer = vec![0; 64 * 1024];
    let mut before = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let read = &buffer[..length];
        if let Some(passing) = shared.passing(direction, &before, read) {
            to.write_all(&read[..passing]).await.ok();
            return shared.until(|state| state.held != Some(direction)).await;
        }
        if to.write_all(read).await.is_err() {
            return;
        }
        before.extend_from_slice(read);
        before.drain(..before.len().saturating_sub(KEPT));
    }
}
