//! What one session may do, over a real socket: each limit set low, met exactly, and told by its name.

mod subscriptions;
mod traces;

use anyhow::Result;
use reflow_tracing_tests::{Client, Service};

/// A client of either protocol.
async fn connect(service: &Service, v2: bool) -> Result<Client> {
    if v2 { service.connect_v2().await } else { service.connect().await }
}
