//! Connections are encrypted where their url asks for it, and a server that is not who it says it is gets none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reflow_tracing_store::{PostgresOptions, PostgresStore, StoreError};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::support::*;

/// A database on a server that does TLS, with a certificate of its own making.
struct Scene {
    db: Postgres,
    certificate: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        // One server for all tests of the process: a second certificate would take the first one's place under a test that runs.
        static CERTIFICATE: OnceCell<PathBuf> = OnceCell::const_new();
        let db = Postgres::new().await;
        let certificate = CERTIFICATE.get_or_init(|| turn_tls_on(&db)).await.clone();
        Self { db, certificate }
    }

    /// Connects a writer with this added to its url.
    async fn connect(&self, asked: &str) -> Result<PostgresStore, StoreError> {
        let options = self.db.options();
        let url = format!("{}?{asked}", options.connection_url);
        PostgresStore::connect_writer(&PostgresOptions { connection_url: url, ..options }).await
    }
}

async fn turn_tls_on(db: &Postgres) -> PathBuf {
    let mut connection = PgConnection::connect(&db.options().connection_url).await.expect("connects");
    let row = connection.fetch_one("SHOW data_directory").await.expect("answers");
    let data = PathBuf::from(row.get::<String, _>(0));
    make_certificate(&data.join("server.crt"), &data.join("server.key"));
    for file in ["server.crt", "server.key"] {
        // A server refuses a key that is not its own user's.
        let chown = Command::new("chown").arg("--reference").arg(&data).arg(data.join(file)).status();
        assert!(chown.expect("chown").success());
    }
    connection.execute("ALTER SYSTEM SET ssl = on").await.expect("may");
    connection.execute("SELECT pg_reload_conf()").await.expect("reloads");
    let start = Instant::now();
    while !does_tls(db).await {
        assert!(start.elapsed() < Duration::from_secs(30), "the server does not take over its settings");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    data.join("server.crt")
}

async fn does_tls(db: &Postgres) -> bool {
    let mut connection = PgConnection::connect(&db.options().connection_url).await.expect("connects");
    connection.fetch_one("SHOW ssl").await.expect("answers").get::<String, _>(0) == "on"
}

fn make_certificate(certificate: &Path, key: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(key);
    let output = openssl.arg("-out").arg(certificate).output().expect("openssl is installed with postgres");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a server without TLS says, in one byte: the real one of these tests may have been told to do TLS by now.
#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("postgres://postgres@{}/traces?sslmode=require", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            // SSLRequest: https://www.postgresql.org/docs/current/protocol-message-formats.html
            stream.read_exact(&mut [0; 8]).await.expect("asks");
            stream.write_all(b"N").await.expect("answers");
        }
    });
    let options = PostgresOptions { acquire_timeout: Duration::from_secs(5), ..PostgresOptions::new(url) };
    let message = PostgresStore::connect_writer(&options).await.expect_err("refused").to_string();
    assert!(message.to_lowercase().contains("tls"), "{message}");
    server.abort();
}

#[tokio::test]
async fn connections_are_encrypted_where_the_url_asks_for_it() {
    let scene = Scene::new().await;
    let ours = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name = 'reflow-tracing-writer'";
    let store = scene.connect("sslmode=require").await.expect("connects");
    let mut beside = PgConnection::connect(&scene.db.options().connection_url).await.expect("connects");
    let encrypted: Option<bool> = sqlx::query_scalar(ours).fetch_one(&mut beside).await.expect("answers");
    assert_eq!(encrypted, Some(true));
    drop(store);
}

#[tokio::test]
async fn a_server_is_checked_against_the_certificate_that_the_url_names() {
    let scene = Scene::new().await;
    let known = format!("sslmode=verify-full&sslrootcert={}", scene.certificate.display());
    scene.connect(&known).await.expect("connects");

    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.crt");
    make_certificate(&other, &folder.path().join("other.key"));
    let error = scene.connect(&format!("sslmode=verify-full&sslrootcert={}", other.display())).await;
    let message = error.expect_err("refused").to_string();
    assert!(message.contains("certificate"), "{message}");
}
