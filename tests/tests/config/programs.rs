//! The four programs, each with the least it needs to be configured.

use anyhow::Result;
use reflow_tracing_tests::{Service, ServiceBuilder};

/// Nobody listens there, and nobody has to: checking and printing start nothing.
pub const NATS: &str = "nats://127.0.0.1:1";
pub const POSTGRES: &str = "postgres://127.0.0.1:1/traces";

/// A program: its name, and how to start it with a good configuration.
pub struct Program {
    pub name: &'static str,
    service: fn() -> ServiceBuilder,
    needs: &'static [(&'static str, &'static str)],
}

const NATS_ALONE: &[(&str, &str)] = &[("REFLOW_TRACING_NATS_URL", NATS)];
const BOTH: &[(&str, &str)] = &[("REFLOW_TRACING_NATS_URL", NATS), ("REFLOW_TRACING_POSTGRES_URL", POSTGRES)];

pub const ALL: [Program; 4] = [
    Program { name: "reflow-tracing", service: Service::standalone, needs: &[] },
    Program { name: "reflow-collector", service: Service::collector, needs: NATS_ALONE },
    Program { name: "reflow-writer", service: Service::writer, needs: BOTH },
    Program { name: "reflow-query", service: Service::query, needs: BOTH },
];

impl Program {
    /// With nothing configured.
    pub fn bare(&self) -> ServiceBuilder {
        (self.service)()
    }

    /// With what it cannot do without.
    pub fn good(&self) -> ServiceBuilder {
        self.needs.iter().fold(self.bare(), |service, (key, value)| service.env(key, *value))
    }
}

/// How a program that was to end did: its exit code, standard output, standard error.
pub async fn outcome(service: ServiceBuilder) -> Result<(Option<i32>, String, String)> {
    let (status, output, errors) = service.run_to_end().await?;
    Ok((status.code(), output, errors))
}
