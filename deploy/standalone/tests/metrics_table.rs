//! The table of metrics in ARCHITECTURE.md is made from their declarations. `UPDATE_EXPECT=1` writes it anew.

use std::collections::BTreeMap;
use std::path::Path;

use reflow_tracing_service::metrics::{BUILD_INFO, DISK_METRICS, PROCESS_METRICS, READY, metrics_table};
use reflow_tracing_service::telemetry::OWN_SPANS;

const BEGIN: &str = "<!-- metrics: made from the code -->\n";
const END: &str = "<!-- end of metrics -->";

#[test]
fn the_documented_table_is_the_declared_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();

    let mut docs = reflow_tracing_session::session_metrics();
    docs.extend(reflow_tracing_collector::collector_metrics());
    docs.extend(reflow_tracing_writer::writer_metrics());
    docs.extend(reflow_tracing_query::query_metrics());
    docs.extend(PROCESS_METRICS);
    docs.extend(DISK_METRICS);
    docs.extend([BUILD_INFO, READY, OWN_SPANS]);
    let docs: BTreeMap<_, _> = docs.into_iter().map(|doc| (doc.name, doc)).collect();
    let declared = metrics_table(&docs.into_values().collect::<Vec<_>>());

    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{declared}{END}{after}")).unwrap();
    } else {
        assert_eq!(table, declared, "run this test with UPDATE_EXPECT=1");
    }
}
