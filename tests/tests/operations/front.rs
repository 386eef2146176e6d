//! One address before several services, as a load balancer gives it: each connection goes to the next one that accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Stops when dropped, and ends its connections.
pub struct Front {
    port: u16,
    task: JoinHandle<()>,
}

impl Front {
    pub async fn before(ports: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the front cannot listen")?;
        let port = listener.local_addr().context("no address")?.port();
        let (ports, next) = (Arc::new(ports), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, Arc::clone(&ports), next.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Ok(Self { port, task })
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, ports: Arc<Vec<u16>>, first: usize) {
    for number in 0..ports.len() {
        let port = ports[(first + number) % ports.len()];
        if let Ok(mut service) = TcpStream::connect(("127.0.0.1", port)).await {
            client.set_nodelay(true).ok();
            service.set_nodelay(true).ok();
            tokio::io::copy_bidirectional(&mut client, &mut service).await.ok();
            return;
        }
    }
}
