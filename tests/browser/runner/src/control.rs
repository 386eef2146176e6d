//! Real servers for tests that cannot start any: over HTTP, from another origin.
//!
//! | request | does |
//! |---|---|
//! | `POST /servers` | starts a `reflow-tracing` with a store of its own: `{"id", "url", "cuttable_url", "v1_url"}` |
//! | `POST /servers/<id>/kill` | `kill -9` |
//! | `POST /servers/<id>/restart` | starts it again, on the same port and store |
//! | `POST /servers/<id>/hold-acks` | what comes through `cuttable_url` is stored, but its next ack is held back |
//! | `POST /servers/<id>/cut` | once an ack is held back: ends that connection; new ones pass |
//! | `GET /servers/<id>/trace?id=` | the trace as a v1 reader gets it from history, or null |
//! | `GET /servers/<id>/metric?name=` | a metric, summed over its labels |
//!
//! `v1_url` stands for a server that does not know v2: it fails the handshake that asks for it. A wrong request, or a server
//! that does not do as told, is status 500 with the reason, which is the test's failure message.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reflow_tracing_tests::wire::Direction;
use reflow_tracing_tests::{Proxy, Service, Wire, answers};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The page under test is of another origin.
const ANY_ORIGIN: [(HeaderName, &str); 1] = [(HeaderName::from_static("access-control-allow-origin"), "*")];

type Servers = Arc<Mutex<HashMap<usize, Server>>>;

/// Listens on a free port; all servers end when it is stopped or dropped.
#[derive(Debug)]
pub struct Control {
    url: String,
    servers: Servers,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Server {
    service: Service,
    wire: Wire,
    _v1: Proxy,
    _folder: TempDir,
}

#[derive(Deserialize)]
struct TraceId {
    id: String,
}

#[derive(Deserialize)]
struct MetricName {
    name: String,
}

impl Control {
    /// Listens.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the control cannot listen")?;
        let url = format!("http://{}", listener.local_addr().context("the listener has no address")?);
        let servers = Servers::default();
        let router = Router::new()
            .route("/servers", post(start))
            .route("/servers/{id}/{action}", post(act))
            .route("/servers/{id}/trace", get(trace))
            .route("/servers/{id}/metric", get(metric))
            .with_state(Arc::clone(&servers));
        let task = tokio::spawn(async move {
            // Ends only with the listener.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, servers, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends all servers.
    pub async fn stop(self) {
        self.task.abort();
        self.servers.lock().await.clear();
    }
}

async fn start(State(servers): State<Servers>) -> Response {
    answer(
        async {
            let folder = tempfile::tempdir().context("no temp folder")?;
            let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
            let wire = Wire::before(service.port()).await?;
            let v1 = Proxy::before(&service.url()).await?;
            let cuttable_url = format!("ws://127.0.0.1:{}/", wire.port());
            let mut described = json!({ "url": service.url(), "cuttable_url": cuttable_url, "v1_url": v1.url() });
            let mut servers = servers.lock().await;
            let id = servers.len();
            described["id"] = id.into();
            servers.insert(id, Server { service, wire, _v1: v1, _folder: folder });
            Ok(described)
        }
        .await,
    )
}

async fn act(State(servers): State<Servers>, Path((id, action)): Path<(usize, String)>) -> Response {
    answer(
        async {
            let mut servers = servers.lock().await;
            let server = servers.get_mut(&id).with_context(|| format!("there is no server {id}"))?;
            match action.as_str() {
                "kill" => server.service.kill9().await?,
                "restart" => server.service.restart().await?,
                "hold-acks" => server.wire.stop_at(Direction::ToClient, b"BatchRecorded"),
                "cut" => {
                    server.wire.stopped().await?;
                    server.wire.release();
                }
                _ => anyhow::bail!("there is no action {action}"),
            }
            Ok(Value::Null)
        }
        .await,
    )
}

async fn trace(State(servers): State<Servers>, Path(id): Path<usize>, Query(trace): Query<TraceId>) -> Response {
    answer(
        async {
            let servers = servers.lock().await;
            let server = servers.get(&id).with_context(|| format!("there is no server {id}"))?;
            let mut client = server.service.connect().await?;
            let answer = client.ask(&json!({ "GetTrace": { "trace_id": trace.id } })).await?;
            Ok(answers::trace(&answer)?.cloned().unwrap_or_default())
        }
        .await,
    )
}

async fn metric(State(servers): State<Servers>, Path(id): Path<usize>, Query(metric): Query<MetricName>) -> Response {
    answer(
        async {
            let servers = servers.lock().await;
            let server = servers.get(&id).with_context(|| format!("there is no server {id}"))?;
            Ok(json!(server.service.metric(&metric.name).await?))
        }
        .await,
    )
}

fn answer(result: Result<Value>) -> Response {
    match result {
        Ok(value) => (ANY_ORIGIN, Json(value)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, ANY_ORIGIN, format!("{error:#}")).into_response(),
    }
}
