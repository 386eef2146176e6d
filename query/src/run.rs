//! The order of start of a query service, and the reverse of it at the end.
//!
//! Guarantee: it accepts nobody, and takes no question from the bus, before the store can be read and the bus is declared. At the
//! end it stops taking questions first, from sessions and from the bus, and finishes those under way.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_bus::{LocalHistory, NatsBus, ServeOptions, Side, serve_history, start_directory};
use reflow_tracing_service::Service;
use reflow_tracing_session::{Capabilities, Server};

use crate::history::HistoryService;
use crate::metrics::QueryMetrics;
use crate::{settings, store};

/// Questions under way are finished within this: longer ones are asked again elsewhere.
const HISTORY_DEADLINE: Duration = Duration::from_secs(5);

/// Starts a query service and returns once it accepts.
///
/// # Errors
///
/// When the port is taken, or bus, store or Redis are configured in a way that cannot work. What is away is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let config = &service.config;
    let sessions = Server::stage(service);
    let history = service.lifecycle.stage("history", HISTORY_DEADLINE);
    let bus_stage = NatsBus::stage(service);
    let listener = service.listen().await?;
    let directory = start_directory(service)?;
    let schema = service.readiness.latch("schema");
    let (reader, bus) =
        tokio::try_join!(store::open(config, &schema), NatsBus::start(service, &bus_stage, &[Side::Tails]))?;

    let metrics = QueryMetrics::register(&service.metrics)?;
    let answers = Arc::new(HistoryService::new(reader, settings::history(config), metrics));
    let (asked, handler, stop) = (bus.clone(), answers.clone(), history.stop());
    history.spawn("history over the bus", async move {
        serve_history(&asked, handler, ServeOptions::default(), stop).await;
        Ok(())
    });
    let metrics = service.metrics.clone();
    let capabilities = Capabilities {
        ingest: None,
        history: Some(Arc::new(LocalHistory::new(answers))),
        tail: Some(Arc::new(bus)),
        directory,
        figures: Arc::new(move || metrics.figures()),
        durable: true,
        service: service.role.program(),
    };
    Ok(Server::start(service, &sessions, listener, capabilities)?)
}
