//! The order of start of a writer, and the reverse of it at the end.
//!
//! Guarantee: it takes nothing from the bus before the store is open and migrated. At the end it settles what is in hand before the
//! bus is closed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_bus::{Bus, NatsBus, NatsOptions};
use reflow_tracing_service::{Service, Stage};
use reflow_tracing_store::Store;

use crate::background::Background;
use crate::hooks::Hooks;
use crate::metrics::{ConsumerSampler, WriterMetrics};
use crate::options::{BackgroundOptions, WriterOptions};
use crate::store;
use crate::writer::Writer;

/// Closing flushes the acks; the server has them within a moment or not at all.
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
    let bus_stage = service.lifecycle.stage("bus", BUS_DEADLINE);
    let schema = service.readiness.latch("schema");
    let (store, bus) = tokio::try_join!(store::open(config, &schema), connect(service, &bus_stage))?;
    let sampler = ConsumerSampler::register(&service.metrics, bus.shared_stats())?;
    let stop = bus_stage.stop();
    bus_stage.spawn("metrics", async move {
        sampler.run(stop).await;
        Ok(())
    });
    write(service, &stage, Arc::new(bus), store)
}

/// Writes, and does the rest beside it, in a stage until its turn to stop.
///
/// # Errors
///
/// When the metrics cannot be registered.
pub fn write(service: &Service, stage: &Stage, bus: Arc<dyn Bus>, store: Arc<dyn Store>) -> anyhow::Result<()> {
    let metrics = WriterMetrics::register(&service.metrics)?;
    let background =
        Background::new(bus.clone(), store.clone(), BackgroundOptions::of(&service.config), metrics.clone());
    let writer = Writer::new(bus, store, hooks(), WriterOptions::of(&service.config), metrics);
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

#[cfg(not(feature = "failpoints"))]
fn hooks() -> Arc<dyn Hooks> {
    Arc::new(crate::hooks::NoHooks)
}

#[cfg(feature = "failpoints")]
fn hooks() -> Arc<dyn Hooks> {
    match crate::hooks::Failpoint::from_environment() {
        Some(failpoint) => Arc::new(failpoint),
        None => Arc::new(crate::hooks::NoHooks),
    }
}
