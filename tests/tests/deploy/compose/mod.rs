//! The compose files: valid, as safe as they say, and their services work together.

mod cluster;
mod file;
mod grafana;
mod monitoring;
mod processes;
mod promises;
mod upgrade;
