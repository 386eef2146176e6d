//! Three NATS servers with three copies of each stream restart one after the other under load, the next one when the last has caught
//! up: acknowledgements go on, and everything that was acknowledged is stored, once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Load, NatsCluster, Postgres, cluster::DATABASE, eventually, load::Options, patience,
};

/// How many acknowledgements show that load flows.
const PROGRESS: usize = 20;
/// Orphans of the consumer are looked for every half minute, and made sure of for six seconds.
const SETTLED: Duration = Duration::from_secs(60);

#[tokio::test]
async fn three_nats_servers_restart_in_turn_and_nothing_is_missing() -> Result<()> {
    let (mut nats, postgres) = tokio::try_join!(NatsCluster::start(), Postgres::start())?;
    postgres.create_database(DATABASE).await?;
    // The cluster owns one server of three; the other two stay here.
    let url = nats.url();
    let first = nats.servers.remove(0);
    let builder = Cluster::build()
        .collectors(2)
        .env("REFLOW_TRACING_NATS_URL", url)
        .env("REFLOW_TRACING_BUS__NATS__REPLICAS", "3")
        // What a writer held when its server went is not waited for half a minute.
        .env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", "2");
    let Cluster { collectors, writers, queries, nats: first, postgres } = builder.start_on(first, postgres).await?;
    nats.servers.insert(0, first);
    nats.whole().await?;

    let urls = collectors.iter().map(|collector| collector.url()).collect();
    let load = Load::start(urls, &Options::default());
    for number in 0..nats.servers.len() {
        let restarted = async {
            load.progress(PROGRESS).await?;
            nats.servers[number].terminate().await?;
            load.progress(PROGRESS).await.context("while it is away")?;
            nats.servers[number].restart().await?;
            nats.whole().await?;
            load.progress(PROGRESS).await.context("after it came back")
        };
        restarted.await.with_context(|| format!("NATS server {number}"))?;
    }
    let ledger = load.finish(patience()).await?;
    let sent = ledger.events_sent();
    eventually(SETTLED, || async {
        let stored = postgres.sql(DATABASE, "SELECT coalesce(sum(events), 0) FROM chunks").await?;
        ensure!(stored == sent.to_string(), "{stored} of {sent} events are stored\n{}", nats.told().await);
        Ok(())
    })
    .await
    .with_context(|| writers[0].process().tail())?;
    ledger.check_all(&postgres, &queries[0]).await
}
