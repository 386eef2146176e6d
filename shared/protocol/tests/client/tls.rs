//! `wss://`: encrypted, and only with a server whose certificate is trusted.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, TracingError};
use reflow_tracing_tests::process::Spec;
use reflow_tracing_tests::{Process, patience};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::scene::{Server, config, event};

/// The test's own executable is the program, with the certificates it trusts in its environment: url and trace id.
const PROGRAM: &str = "CLIENT_TEST_PROGRAM_WSS";

/// Decrypts in front of a server; gives its port and its certificate, as PEM.
async fn decrypting(server: u16, connections: &mut JoinSet<()>) -> Result<(u16, String)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await?;
    let port = listener.local_addr()?.port();
    connections.spawn(async move {
        let mut each = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            each.spawn(async move {
                let mut inner = TcpStream::connect(("127.0.0.1", server)).await?;
                let mut outer = acceptor.accept(stream).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    Ok((port, made.cert.pem()))
}

#[tokio::test]
async fn a_trusted_server_is_spoken_to_encrypted_and_no_other() -> Result<()> {
    if let Ok(url) = std::env::var(PROGRAM) {
        let client = TracingClient::new(config(&url));
        client.connect_within(patience()).await?;
        client.record(&client.current_trace_id(), event(0))?;
        client.flush_within(patience()).await?;
        return Ok(std::fs::write("told", client.current_trace_id().to_string())?);
    }
    let server = Server::start().await?;
    let mut connections = JoinSet::new();
    let (port, certificate) = decrypting(server.service.port(), &mut connections).await?;
    let url = format!("wss://localhost:{port}");

    let stranger = TracingClient::new(config(&url));
    let refused = stranger.connect_within(std::time::Duration::from_secs(1)).await.expect_err("nobody knows it");
    ensure!(matches!(&refused, TracingError::ConnectionFailed(reason) if reason.contains("ertificate")), "{refused}");

    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("roots.pem"), certificate)?;
    let spec = Spec::new(std::env::current_exe()?, folder.path())
        .args(["--exact", "tls::a_trusted_server_is_spoken_to_encrypted_and_no_other", "--nocapture"])
        .env("SSL_CERT_FILE", folder.path().join("roots.pem"))
        .env(PROGRAM, &url);
    let mut process = Process::spawn(&spec)?;
    ensure!(process.exit(patience()).await?.success(), "{}", process.tail());
    let trace_id = std::fs::read_to_string(folder.path().join("told"))?.parse().context("no trace id")?;
    server.trace_with(trace_id, 1).await?;
    Ok(())
}
