//! What a collector measures beside its sessions: the bus and the directory.

use reflow_tracing_bus::{Side, directory_metrics};
use reflow_tracing_service::metrics::MetricDoc;

/// The sides of the bus that a collector uses.
pub const SIDES: [Side; 2] = [Side::Publishing, Side::Tails];

/// Everything this crate measures.
pub fn collector_metrics() -> Vec<MetricDoc> {
    SIDES.into_iter().flat_map(Side::metrics).chain(directory_metrics()).collect()
}
