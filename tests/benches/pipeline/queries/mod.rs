//! `GetTrace` and `QueryTraces` on a large store: eight askers at once, through the service that answers people.

mod ask;
mod dataset;

use anyhow::Result;
use reflow_tracing_tests::{NatsServer, Service};

use crate::backend::{PostgresBackend, SqliteBackend};
use crate::options::Options;
use crate::report::{Figure, Goal, Report};
use ask::Answered;
use dataset::{Dataset, Size};

/// Measures both backends.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let size = if options.smoke {
        Size { traces: 500, flows: 20 }
    } else if options.small {
        Size { traces: 10_000, flows: 100 }
    } else {
        Size { traces: 100_000, flows: 1_000 }
    };

    let sqlite = SqliteBackend::new()?;
    let store = sqlite.open().await?;
    let dataset = Dataset::write(&store, size).await?;
    store.close().await;
    // After a day the work of compaction is done; here it would come all at once, among the questions.
    let standalone = Service::standalone().sqlite(&sqlite.path()).env("REFLOW_TRACING_RETENTION__COMPACTION", "false");
    let standalone = standalone.start().await?;
    let processes = [("standalone", standalone.process())];
    tell(report, "SQLite", &dataset, ask::all(&standalone.url(), &processes, &dataset, options).await?);
    drop(standalone);

    let (postgres, nats) = (PostgresBackend::start().await?, NatsServer::start().await?);
    let store = postgres.open().await?;
    let dataset = Dataset::write(&store, size).await?;
    drop(store);
    postgres.vacuum().await?;
    let query = Service::query().nats(&nats).postgres(postgres.url()).start().await?;
    let processes = [("query", query.process()), ("postgres", postgres.process())];
    tell(report, "Postgres", &dataset, ask::all(&query.url(), &processes, &dataset, options).await?);
    Ok(())
}

fn tell(report: &mut Report, backend: &str, dataset: &Dataset, answered: Vec<Answered>) {
    for mut answered in answered {
        let (p50, p99) = (answered.latencies.quantile_ms(0.5), answered.latencies.quantile_ms(0.99));
        let name = format!("{}, {backend}, p99", answered.what);
        let (count, cpu_ms, shares) = (answered.latencies.len(), answered.cpu_ms, answered.shares);
        let note = format!(
            "p50 {p50:.1} ms of {count}, {} events, 8 at once; {cpu_ms:.2} ms of CPU each: {shares}",
            dataset.events
        );
        report.figure(Figure::new(name, p99, "ms").goal(Goal::AtMost(answered.goal_ms)).note(note));
    }
}
