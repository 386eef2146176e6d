//! Requests to the JetStream API, as JSON.
//!
//! Why JSON and not the client library's types: an update has to send the whole configuration, and the types of this build do
//! not know every field of newer servers; what an operator set there must survive.

use async_nats::RequestErrorKind;
use async_nats::jetstream::{self, ErrorCode, response::Response};
use bytes::Bytes;
use serde_json::Value;

use super::link::Link;
use crate::error::{BusError, BusErrorKind};

const CONTEXT: &str = "ask jetstream";

/// Why the API said no.
pub(crate) enum ApiError {
    /// It answered with an error.
    Refused(jetstream::Error),
    /// It did not answer.
    Failed(BusError),
}

impl ApiError {
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        matches!(self, ApiError::Refused(error) if error.error_code() == code)
    }

    /// What a caller of the bus gets; `setup` when a refusal is about the configuration.
    pub(crate) fn into_bus(self, context: &'static str, what: &str) -> BusError {
        match self {
            ApiError::Failed(error) => error,
            ApiError::Refused(error) if is_passing(&error) => {
                BusError::new(BusErrorKind::Unavailable, context, format!("{what}: {error}"))
            }
            ApiError::Refused(error) => BusError::new(BusErrorKind::Setup, context, format!("{what}: {error}")),
        }
    }
}

/// Refusals of a cluster that is not ready: they pass without anybody changing a setting.
fn is_passing(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::CLUSTER_NOT_AVAILABLE
            | ErrorCode::CLUSTER_NOT_ACTIVE
            | ErrorCode::CLUSTER_NOT_LEADER
            | ErrorCode::CLUSTER_INCOMPLETE
            | ErrorCode::STREAM_OFFLINE
            | ErrorCode::CONSUMER_OFFLINE
    )
}

/// One request. The subject is without its `$JS.API.` prefix; questions about what is there have no body.
pub(crate) async fn request(link: &Link, subject: &str, body: Option<&Value>) -> Result<Value, ApiError> {
    if !link.is_up() {
        return Err(ApiError::Failed(unavailable("not connected to nats")));
    }
    let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let answer = link.client.request(format!("$JS.API.{subject}"), body).await.map_err(|error| match error.kind() {
        RequestErrorKind::TimedOut => BusError::new(BusErrorKind::Timeout, CONTEXT, "no answer in time"),
        RequestErrorKind::NoResponders => unavailable("jetstream is not enabled, or not ready yet"),
        _ => unavailable(&error.to_string()),
    });
    let answer = answer.map_err(ApiError::Failed)?;
    match serde_json::from_slice(&answer.payload) {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Err { error }) => Err(ApiError::Refused(error)),
        Err(error) => Err(ApiError::Failed(unavailable(&format!("the answer cannot be read: {error}")))),
    }
}

fn unavailable(reason: &str) -> BusError {
    BusError::new(BusErrorKind::Unavailable, CONTEXT, reason)
}
