//! A telemetry collector of the test's: takes spans as OTLP over gRPC, and keeps them.
//!
//! HTTP/2 by the `h2` crate, and of gRPC the little that one unary call without compression is: a frame of five bytes before
//! the message, and the status in the trailers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reflow_tracing_tests::{eventually, patience};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The five bytes before a gRPC message: not compressed, and its length.
const FRAME: usize = 5;

/// A span as it came, with whose it is.
#[derive(Clone, Debug)]
pub struct Received {
    /// What the sender says of itself.
    pub resource: BTreeMap<String, Value>,
    /// What the span says.
    pub attributes: BTreeMap<String, Value>,
    /// The rest of it.
    pub span: Span,
}

/// A collector that runs until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _task: AbortOnDropHandle<()>,
}

impl Receiver {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, kept).await {
                        eprintln!("telemetry collector: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, received, _task: AbortOnDropHandle::new(task) })
    }

    /// For `telemetry.otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that came so far.
    pub fn spans(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first span of this service and name that `fits`, as soon as it is there.
    pub async fn span(&self, service: &str, name: &str, fits: impl Fn(&Received) -> bool) -> Result<Received> {
        eventually(patience(), || async {
            let spans = self.spans();
            let found = spans.iter().find(|span| span.service() == service && span.span.name == name && fits(span));
            let seen: Vec<_> = spans.iter().map(|span| (span.service(), &span.span.name, &span.attributes)).collect();
            found.cloned().with_context(|| format!("no such span {name} of {service} among {seen:?}"))
        })
        .await
    }
}

impl Received {
    pub fn service(&self) -> &str {
        self.resource.get("service.name").and_then(Value::as_str).unwrap_or_default()
    }

    /// An attribute; null where there is none.
    pub fn get(&self, name: &str) -> Value {
        self.attributes.get(name).cloned().unwrap_or_default()
    }
}

async fn serve(stream: TcpStream, kept: Arc<Mutex<Vec<Received>>>) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let kept = Arc::clone(&kept);
        // Beside the connection, which brings the body only while it is asked for the next request.
        tokio::spawn(async move {
            if let Err(error) = take(request.into_body(), respond, &kept).await {
                eprintln!("telemetry collector: {error:#}");
            }
        });
    }
    Ok(())
}

async fn take(mut body: RecvStream, mut respond: SendResponse<Bytes>, kept: &Mutex<Vec<Received>>) -> Result<()> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    ensure!(bytes.first() == Some(&0) && bytes.len() >= FRAME, "no plain gRPC message");
    let export = ExportTraceServiceRequest::decode(&bytes[FRAME..])?;
    let spans = export.resource_spans.into_iter().flat_map(|from| {
        let resource = named(from.resource.unwrap_or_default().attributes);
        from.scope_spans.into_iter().flat_map(|scope| scope.spans).map(move |span| Received {
            resource: resource.clone(),
            attributes: named(span.attributes.clone()),
            span,
        })
    });
    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);

    let response = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut answer = respond.send_response(response, false)?;
    answer.send_data(Bytes::from_static(&[0; FRAME]), false)?;
    answer.send_trailers(HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from_static("0"))]))?;
    Ok(())
}

fn named(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => Value::from(text.as_str()),
        Some(any_value::Value::IntValue(number)) => Value::from(*number),
        other => Value::from(format!("{other:?}")),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}
