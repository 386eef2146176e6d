//! Several collectors: a client goes to the next, and a trace stays one.

use anyhow::{Result, ensure};
use reflow_tracing_protocol::FlowId;
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_tests::{Cluster, eventually, patience};

use crate::scene::{config, event, version};

#[tokio::test]
async fn a_trace_goes_on_through_another_collector() -> Result<()> {
    let mut cluster = Cluster::build().collectors(2).start().await?;
    let client = TracingClient::new(config(&cluster.collector_urls().join(", ")));
    client.connect().await?;
    let trace_id = client.start_trace(FlowId::new("two_collectors"), version()).await?;
    for number in 0..1_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
        if number == 500 {
            // Some of it is acked, some on its way, some in the buffer.
            cluster.collectors[0].kill9().await?;
        }
    }
    client.flush_within(patience()).await?;
    let trace = cluster.trace_with(trace_id.0, 1_000).await?;
    assert_eq!(trace["flow_id"], "two_collectors");
    // And back again, with the first still away.
    cluster.collectors[1].restart().await?;
    eventually(patience(), || async {
        ensure!(client.is_connected(), "{:?}", client.last_error());
        Ok(())
    })
    .await?;
    client.record_event(trace_id.clone(), event(1_000)).await?;
    client.shutdown_within(patience()).await?;
    cluster.trace_with(trace_id.0, 1_001).await?;
    assert_eq!(client.metrics().events_dropped(), 0);
    Ok(())
}
