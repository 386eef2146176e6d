//! What a browser or an operator sees: the page at `/`, health, readiness and metrics.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{events, http};

use crate::system::Standalone;

#[tokio::test]
async fn a_plain_get_tells_what_this_is_and_where_to_go() -> Result<()> {
    let system = Standalone::start().await?;
    let page = http::get(system.service.port(), "/").await?;
    assert_eq!(page.status, 200);
    for part in ["ws://", &system.service.port().to_string(), &system.service.admin_port().to_string()] {
        ensure!(page.body.contains(part), "no {part} on the page: {}", page.body);
    }
    Ok(())
}

#[tokio::test]
async fn a_ready_service_is_healthy_and_measures_what_it_takes() -> Result<()> {
    let system = Standalone::start().await?;
    assert_eq!(http::get(system.service.admin_port(), "/healthz").await?.status, 200);
    let trace_id = system.store("measured", &events::program(10)).await?;
    system.trace_with(trace_id, 10).await?;
    let metrics = system.service.metrics().await?;
    ensure!(!metrics.names().is_empty(), "nothing is measured");
    Ok(())
}
