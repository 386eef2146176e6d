//! How a service gets its NATS bus at its start, and gives it back at its end.

use std::time::Duration;

use anyhow::Context;
use reflow_tracing_service::{Service, Stage};

use super::{NatsBus, NatsOptions};
use crate::{Bus, Side, watch_bus};

/// Closing flushes what was sent; the server has it within a moment or not at all.
const DEADLINE: Duration = Duration::from_secs(3);

impl NatsBus {
    /// The stage in which [`NatsBus::start`] closes the bus: after those that still use it.
    pub fn stage(service: &Service) -> Stage {
        service.lifecycle.stage("bus", DEADLINE)
    }

    /// The bus, declared, measured, and closed at the end of `stage`. A server that is away is waited for; the latch `bus` says so.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work, or the server refuses the declaration.
    pub async fn start(service: &Service, stage: &Stage, sides: &[Side]) -> anyhow::Result<Self> {
        let latch = service.readiness.latch("bus");
        latch.waiting_for("nats, to declare the streams");
        let options = NatsOptions::of(&service.config, service.role.program())?;
        let bus = Self::connect(options).await.context("cannot connect to the bus")?;
        let closing = bus.clone();
        stage.finally("close the bus", async move {
            closing.close().await;
            Ok(())
        });
        bus.declare_when_reachable().await.context("cannot declare the bus")?;
        watch_bus(&service.metrics, bus.shared_stats(), sides)?;
        latch.set();
        Ok(bus)
    }
}
