//! The admin port: `/healthz`, `/readyz` and the metrics.
//!
//! It stands apart from the protocol port so that it answers when that one is full, and need not be reachable by
//! clients. Alive means only that this process answers: it never asks a dependency, else an outage of the store would
//! make an orchestrator kill collectors that are waiting for it.

use std::{future::Future, io};

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{metrics::Metrics, readiness::Readiness};

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes. `endpoint` is a plain path, which the configuration has checked.
pub fn router(readiness: Readiness, metrics: Metrics, endpoint: &str) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&readiness)))
        .route(endpoint, get(async move || exposition(&metrics)))
}

/// Serves the routes on a bound listener until `stop` resolves, then lets running answers end.
///
/// # Errors
///
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

fn ready(readiness: &Readiness) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

fn exposition(metrics: &Metrics) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
