//! The order of start of a collector, and the reverse of it at the end.
//!
//! Guarantee: it accepts nobody before the bus is declared. At the end sessions are drained first: whatever a session was
//! answered is in the bus, and the bus is closed only after the last of them.

use std::sync::Arc;

use reflow_tracing_bus::{AskOptions, NatsBus, NatsHistory, start_directory};
use reflow_tracing_service::Service;
use reflow_tracing_session::{Capabilities, Server};

use crate::metrics::SIDES;

/// Starts a collector and returns once it accepts.
///
/// # Errors
///
/// When the port is taken, or bus or Redis are configured in a way that cannot work. A bus that is away is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let sessions = Server::stage(service);
    let bus_stage = NatsBus::stage(service);
    let listener = service.listen().await?;
    let bus = NatsBus::start(service, &bus_stage, &SIDES).await?;
    let directory = start_directory(service)?;
    let metrics = service.metrics.clone();
    let capabilities = Capabilities {
        ingest: Some(Arc::new(bus.clone())),
        history: Some(Arc::new(NatsHistory::new(&bus, AskOptions::default()))),
        tail: Some(Arc::new(bus)),
        directory,
        figures: Arc::new(move || metrics.figures()),
        durable: true,
        service: service.role.program(),
    };
    Ok(Server::start(service, &sessions, listener, capabilities)?)
}
