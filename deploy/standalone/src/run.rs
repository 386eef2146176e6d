//! The order of start of the one-process program, and the reverse of it at the end.
//!
//! Guarantee: it accepts nobody before the store is open. At the end sessions are drained first, while the writer still commits what
//! they wait for; then the writer stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_bus::{
    Bus, DirectoryOptions, LocalBus, LocalHistory, LocalOptions, MemoryDirectory, Side, TailLimits, watch_bus,
    watch_directory,
};
use reflow_tracing_query::{HistoryService, QueryMetrics};
use reflow_tracing_service::config::Backend;
use reflow_tracing_service::{Config, Service};
use reflow_tracing_session::{Capabilities, Server};
use reflow_tracing_writer::{open_store, write};

use crate::dead_letters;

/// What is left for the writer when the last session has ended is less than a batch.
const WRITER_DEADLINE: Duration = Duration::from_secs(3);

/// Starts everything and returns once it accepts.
///
/// # Errors
///
/// When the port is taken, or the store cannot be opened. One that another process holds is waited for.
pub async fn start(service: &Service) -> anyhow::Result<()> {
    let config = &service.config;
    let sessions = Server::stage(service);
    let writer = service.lifecycle.stage("writer", WRITER_DEADLINE);
    let listener = service.listen().await?;
    let address = listener.local_addr()?;

    let store = open_store(config, &service.readiness.latch("schema")).await?;
    let bus = LocalBus::try_new(bus_options(config)).await.context("cannot keep dead letters")?;
    let directory = Arc::new(MemoryDirectory::new(DirectoryOptions::of(config)));
    let sides = [Side::Publishing, Side::Consuming, Side::Tails];
    watch_bus(&service.metrics, bus.shared_stats(), &sides)?;
    watch_directory(&service.metrics, directory.clone())?;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    write(service, &writer, bus.clone(), store.clone())?;
    let closing = bus.clone();
    writer.finally("close the bus", async move {
        closing.close().await;
        Ok(())
    });

    let durable = store.durable();
    let metrics = QueryMetrics::register(&service.metrics)?;
    let history = HistoryService::new(store, reflow_tracing_query::settings::history(config), metrics);
    let metrics = service.metrics.clone();
    let capabilities = Capabilities {
        ingest: Some(bus.clone()),
        history: Some(Arc::new(LocalHistory::new(Arc::new(history)))),
        tail: Some(bus),
        directory,
        figures: Arc::new(move || metrics.figures()),
        durable,
        service: service.role.program(),
    };
    Server::start(service, &sessions, listener, capabilities)?;
    greet(config, address, service.admin_address);
    Ok(())
}

fn bus_options(config: &Config) -> LocalOptions {
    LocalOptions { dead_letters: dead_letters::folder(config), tail: TailLimits::of(config), ..LocalOptions::default() }
}

/// Says where everything is, for the person at the terminal; the log has it as well.
fn greet(config: &Config, address: SocketAddr, admin: Option<SocketAddr>) {
    let stored = match config.storage.backend {
        Backend::Memory => "memory only: nothing survives this process".to_owned(),
        Backend::Sqlite => config.storage.sqlite.database_path.display().to_string(),
        Backend::Postgres => {
            config.storage.postgres.connection_url.as_ref().map_or_else(String::new, ToString::to_string)
        }
    };
    println!("reflow-tracing {} is listening", env!("CARGO_PKG_VERSION"));
    println!("  programs and viewers  ws://{address}/");
    println!("  page                  http://{address}/");
    if let Some(admin) = admin {
        println!("  metrics               http://{admin}{}", config.metrics.endpoint);
    }
    println!("  stored in             {stored}");
}
