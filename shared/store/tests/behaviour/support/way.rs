//! A way to a server that can be cut without a word, as by a firewall that forgets connections.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Lets connections through to a server.
pub struct Way {
    port: u16,
    cut: watch::Sender<()>,
}

impl Way {
    /// A way to this address.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let (cut, _) = watch::channel(());
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(&server).await.expect("connects");
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        // Both ends stay open, and hear nothing of each other any more.
                        _ = cut.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, cut }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connections there are; new ones get through.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }
}
