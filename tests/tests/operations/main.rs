//! What an operator relies on, tried for real: dashboards and alerts, backups, rolling restarts, upgrades, and what deploy/README.md
//! says.

mod alerts;
mod backup;
mod dashboard;
mod docs;
mod metrics;
mod nats_cluster;
mod otlp;
mod own_spans;
mod program;
mod promql;
mod retention;
mod rolling;
mod scene;
mod upgrades;
mod witness;
