//! The order of start of a writer, and the reverse of it at the end.
//!
//! Guarantee: it takes nothing from the bus before the store is open and migrated. At the end it settles what is in hand before the
//! bus is closed.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_bus::{Bus, NatsBus, Side};
use reflow_tracing_service::config::Backend;
use reflow_tracing_service::{Service, Stage};
use reflow_tracing_store::Store;

use crate::background::Background;
use crate::hooks::NoHooks;
use crate::metrics::WriterMetrics;
use crate::options::{BackgroundOptions, WriterOptions};
use crate::store;
use crate::writer::Writer;

/// What is left of the drain deadline for the acks to be flushed.
const BUS_DEADLINE: Duration = Duration::from_secs(3);

/// Starts a writer and returns once it writes.
///
/// # Errors
///
/// When bus or store are configured in a way that cannot work. What is away is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let config = &service.config;
    let deadline = config.limits.drain_deadline();
    let stage = service.lifecycle.stage("writer", deadline.saturating_sub(BUS_DEADLINE).max(deadline / 2));
    let bus_stage = NatsBus::stage(service);
    let schema = service.readiness.latch("schema");
    let (store, bus) =
        tokio::try_join!(store::open(config, &schema), NatsBus::start(service, &bus_stage, &[Side::Consuming]))?;
    write(service, &stage, Arc::new(bus), store)
}

/// Writes, and does the rest beside it, in a stage until its turn to stop.
///
/// # Errors
///
/// When the metrics cannot be registered.
pub fn write(service: &Service, stage: &Stage, bus: Arc<dyn Bus>, store: Arc<dyn Store>) -> anyhow::Result<()> {
    let metrics = WriterMetrics::register(&service.metrics)?;
    if service.config.storage.backend == Backend::Sqlite
        && let Some(folder) = service.config.storage.sqlite.database_path.parent()
    {
        service.metrics.watch_disk(folder)?;
    }
    let background =
        Background::new(bus.clone(), store.clone(), BackgroundOptions::of(&service.config), metrics.clone());
    let writer = Writer::new(bus, store, Arc::new(NoHooks), WriterOptions::of(&service.config), metrics);
    let consumer = service.readiness.latch("consumer");
    let stop = stage.stop();
    stage.spawn("writer", async move { Ok(writer.run(|| consumer.set(), stop).await?) });
    let stop = stage.stop();
    stage.spawn("background", async move {
        background.run(stop).await;
        Ok(())
    });
    Ok(())
}
