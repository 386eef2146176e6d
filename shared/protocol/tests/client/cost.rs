//! What recording costs on the caller's thread.
//!
//! The goals themselves (p99 of `record_event` within 1 µs, of a `trace_*` call within 3 µs) are held against by `benches/record.rs`, in an
//! optimised build on a machine that does nothing else. Here it is the median and twenty times as much, which no other load explains.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::FutureExt;
use reflow_tracing_protocol::client::{TracingClient, TracingIntegration};
use reflow_tracing_tests::Port;

use crate::scene::{config, event};

const CALLS: usize = 2_000;

fn median(mut call: impl FnMut(usize) -> bool) -> Result<Duration> {
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        let began = Instant::now();
        let taken = call(number);
        times.push(began.elapsed());
        ensure!(taken, "call {number} was not taken at once");
    }
    times.sort_unstable();
    Ok(times[CALLS / 2])
}

#[test]
fn recording_takes_microseconds_whether_or_not_there_is_a_server() -> Result<()> {
    let nobody = Port::reserve()?;
    let integration =
        TracingIntegration::new(TracingClient::new(config(&format!("ws://127.0.0.1:{}", nobody.number()))));
    let client = integration.client();
    let trace_id = client.current_trace_id();
    let mut events: Vec<_> = (0..CALLS).map(event).collect();
    let record = median(|_| events.pop().is_some_and(|event| client.record(&trace_id, event).is_ok()))?;
    ensure!(record < Duration::from_micros(20), "record takes {record:?}");
    let flow = median(|_| {
        let flow = integration.trace_data_flow("a", "out", "b", "in", "Number", 8);
        flow.now_or_never().is_some_and(|outcome| outcome.is_ok())
    })?;
    ensure!(flow < Duration::from_micros(60), "trace_data_flow takes {flow:?}");
    assert_eq!(client.metrics().events_dropped(), 0);
    Ok(())
}
