//! The order of start of a query service, and the reverse of it at the end.
//!
//! Guarantee: it accepts nobody, and takes no question from the bus, before the store can be read and the bus is declared. At the
//! end it stops taking questions first, from sessions and from the bus, and finishes those under way.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_bus::{
    Bus, DirectoryOptions, LocalHistory, MemoryDirectory, NatsBus, NatsOptions, ServeOptions, serve_history,
};
use reflow_tracing_service::{Service, Stage};
use reflow_tracing_session::{Capabilities, Server, SessionLimits, SessionMetrics};

use crate::history::HistoryService;
use crate::metrics::{QueryMetrics, TailSampler, figures};
use crate::{settings, store};

/// Questions under way are finished within this: longer ones are asked again elsewhere.
const HISTORY_DEADLINE: Duration = Duration::from_secs(5);

/// Closing flushes what was sent; the server has it within a moment or not at all.
const BUS_DEADLINE: Duration = Duration::from_secs(3);

/// Starts a query service and returns once it accepts.
///
/// # Errors
///
/// When the port is taken, or bus or store are configured in a way that cannot work. What is away is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let config = &service.config;
    let sessions =
        service.lifecycle.stage("sessions", SessionLimits::of(config, None).drain_timeout + Duration::from_secs(1));
    let history = service.lifecycle.stage("history", HISTORY_DEADLINE);
    let bus_stage = service.lifecycle.stage("bus", BUS_DEADLINE);
    let listener = service.listen().await?;
    let schema = service.readiness.latch("schema");
    let (reader, bus) = tokio::try_join!(store::open(config, &schema), connect(service, &bus_stage))?;

    let metrics = QueryMetrics::register(&service.metrics)?;
    let answers = Arc::new(HistoryService::new(reader, settings::history(config), metrics));
    let (asked, handler, stop) = (bus.clone(), answers.clone(), history.stop());
    history.spawn("history over the bus", async move {
        serve_history(&asked, handler, ServeOptions::default(), stop).await;
        Ok(())
    });
    let sampler = TailSampler::register(&service.metrics, bus.shared_stats())?;
    let stop = bus_stage.stop();
    bus_stage.spawn("metrics", async move {
        sampler.run(stop).await;
        Ok(())
    });

    let metrics = service.metrics.clone();
    let capabilities = Capabilities {
        ingest: None,
        history: Some(Arc::new(LocalHistory::new(answers))),
        tail: Some(Arc::new(bus)),
        directory: Arc::new(MemoryDirectory::new(DirectoryOptions::of(config))),
        figures: Arc::new(move || figures(&metrics)),
        durable: true,
        service: service.role.program(),
    };
    let limits = SessionLimits::of(config, service.admin_address);
    let server = Server::new(capabilities, limits, SessionMetrics::register(&service.metrics)?);
    let stop = sessions.stop();
    sessions.spawn("sessions", async move {
        if server.serve(listener, stop).await.sessions_cut > 0 {
            // The stage says that something was cut off when its deadline, a second from now, passes.
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    Ok(())
}

/// The bus, declared; it is waited for.
async fn connect(service: &Service, stage: &Stage) -> anyhow::Result<NatsBus> {
    let latch = service.readiness.latch("bus");
    latch.waiting_for("nats, to declare the streams");
    let options = NatsOptions::of(&service.config, service.role.program())?;
    let bus = NatsBus::connect(options).await.context("cannot connect to the bus")?;
    let closing = bus.clone();
    stage.finally("close the bus", async move {
        closing.close().await;
        Ok(())
    });
    bus.declare_when_reachable().await.context("cannot declare the bus")?;
    latch.set();
    Ok(bus)
}
