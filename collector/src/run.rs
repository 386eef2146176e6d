//! The order of start of a collector, and the reverse of it at the end.
//!
//! Guarantee: it accepts nobody before the bus is declared. At the end sessions are drained first: whatever a session was
//! answered is in the bus, and the bus is closed only after the last of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_bus::{
    AskOptions, Bus, Directory, DirectoryOptions, MemoryDirectory, NatsBus, NatsHistory, NatsOptions, RedisDirectory,
    RedisOptions,
};
use reflow_tracing_service::{Config, Service, Stage};
use reflow_tracing_session::{Capabilities, Server, SessionLimits, SessionMetrics};
use tokio::net::TcpListener;

use crate::metrics::{Sampler, figures};

/// Closing flushes what was sent; the server has it within a moment or not at all.
const BUS_DEADLINE: Duration = Duration::from_secs(3);

/// Starts a collector and returns once it accepts.
///
/// # Errors
///
/// When the port is taken, or bus or Redis are configured in a way that cannot work. A bus that is away is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let config = &service.config;
    let sessions =
        service.lifecycle.stage("sessions", SessionLimits::of(config, None).drain_timeout + Duration::from_secs(1));
    let bus_stage = service.lifecycle.stage("bus", BUS_DEADLINE);
    let listener = service.listen().await?;
    let bus = connect(service, &bus_stage).await?;
    let directory = directory(config)?;
    let sampler = Sampler::register(&service.metrics, bus.shared_stats(), directory.clone())?;
    let stop = bus_stage.stop();
    bus_stage.spawn("metrics", async move {
        sampler.run(stop).await;
        Ok(())
    });
    let metrics = service.metrics.clone();
    let capabilities = Capabilities {
        ingest: Some(Arc::new(bus.clone())),
        history: Some(Arc::new(NatsHistory::new(&bus, AskOptions::default()))),
        tail: Some(Arc::new(bus)),
        directory,
        figures: Arc::new(move || figures(&metrics)),
        durable: true,
        service: service.role.program(),
    };
    serve(service, &sessions, listener, capabilities)
}

/// Serves sessions in a stage until its turn to stop.
///
/// # Errors
///
/// When the metrics of sessions cannot be registered.
pub fn serve(
    service: &Service,
    stage: &Stage,
    listener: TcpListener,
    capabilities: Capabilities,
) -> anyhow::Result<()> {
    let metrics = SessionMetrics::register(&service.metrics)?;
    let limits = SessionLimits::of(&service.config, service.admin_address);
    let server = Server::new(capabilities, limits, metrics);
    let stop = stage.stop();
    stage.spawn("sessions", async move {
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

/// What collectors share, or what this one knows by itself.
fn directory(config: &Config) -> anyhow::Result<Arc<dyn Directory>> {
    Ok(match RedisOptions::of(config) {
        Some(options) => Arc::new(RedisDirectory::try_new(options).context("cannot use Redis")?),
        None => Arc::new(MemoryDirectory::new(DirectoryOptions::of(config))),
    })
}
