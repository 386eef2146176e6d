//! The admin port over a real socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use reflow_tracing_service::{MetricDoc, Metrics, Readiness, admin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const SEEN: MetricDoc = MetricDoc::counter("reflow_seen_total", &[], "seen");

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn probes_and_metrics_answer_until_stopped() {
    let (readiness, metrics) = (Readiness::new(), Metrics::try_new("test").unwrap());
    let bus = readiness.latch("bus");
    metrics.counter(&SEEN).unwrap().inc_by(7);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let routes = admin::router(readiness.clone(), metrics, "/prom/metrics");
    let server = tokio::spawn(admin::serve(listener, routes, stop.clone().cancelled_owned()));

    assert_eq!(get(address, "/healthz").await.0, 200);
    bus.waiting_for("nats at n:4222");
    let (status, body) = get(address, "/readyz").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &json["ready"], &json["latches"]["bus"]), (503, &false.into(), &false.into()));
    assert_eq!(json["waiting_for"]["bus"], "nats at n:4222");
    bus.set();
    assert_eq!(
        get(address, "/readyz").await,
        (200, r#"{"ready":true,"draining":false,"latches":{"bus":true}}"#.to_owned())
    );
    let (status, body) = get(address, "/prom/metrics").await;
    assert!(
        status == 200 && body.contains("reflow_seen_total 7") && body.contains("process_resident_memory_bytes"),
        "{body}"
    );
    assert_eq!(get(address, "/metrics").await.0, 404);
    readiness.drain();
    assert_eq!((get(address, "/readyz").await.0, get(address, "/healthz").await.0), (503, 200));

    stop.cancel();
    timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
