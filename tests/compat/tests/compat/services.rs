//! Against the three services, with NATS and Postgres between them.

use anyhow::Result;
use reflow_tracing_tests::{NatsServer, Postgres, Service};

use crate::check;

/// The whole system; its parts stop when it is dropped, services first.
struct System {
    collector: Service,
    query: Service,
    _writer: Service,
    _nats: NatsServer,
    _postgres: Postgres,
}

impl System {
    async fn start() -> Result<Self> {
        let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
        let database = postgres.create_database("traces").await?;
        // The writer brings the schema, so it comes first.
        let writer = Service::writer().nats(&nats).postgres(&database).start().await?;
        let (query, collector) = tokio::try_join!(
            Service::query().nats(&nats).postgres(&database).start(),
            Service::collector().nats(&nats).start(),
        )?;
        Ok(Self { collector, query, _writer: writer, _nats: nats, _postgres: postgres })
    }

    /// Whom one can ask: a collector speaks the whole protocol, and so does the query service.
    fn readers(&self) -> [String; 2] {
        [self.collector.url(), self.query.url()]
    }
}

#[tokio::test]
async fn a_program_is_one_whole_trace_through_collector_and_query() -> Result<()> {
    let system = System::start().await?;
    check::one_program_is_one_trace(&system.collector.url(), &system.readers()).await
}

#[tokio::test]
async fn two_programs_at_once_are_two_traces_through_collector_and_query() -> Result<()> {
    let system = System::start().await?;
    check::two_programs_are_two_traces(&system.collector.url(), &system.readers()).await
}
