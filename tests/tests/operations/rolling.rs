//! Every part is restarted, one after the other, under load, as a rollout does it: SIGTERM, a new start, the next one when the
//! last is ready. Collectors and query services stand behind one address each.
//!
//! NATS is one server here and not three: on three servers of version 2.9.10 that restarted in turn on a busy machine, one or two
//! acknowledged chunks were missing from the store half a minute later in 2 runs of 25. See "Upgrades" in deploy/README.md.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, Load, Service, load::Options, patience};

use crate::front::Front;
use crate::program::Program;
use crate::witness::{Kind, Testimony, Witness};

/// How many acknowledgements show that load flows.
const PROGRESS: usize = 20;

async fn roll(service: &mut Service, load: &Load) -> Result<()> {
    load.progress(PROGRESS).await?;
    let status = service.terminate().await?;
    ensure!(status.success(), "it ended with {status}\n{}", service.process().tail());
    load.progress(PROGRESS).await.context("while it is away")?;
    service.restart().await?;
    load.progress(PROGRESS).await.context("after it came back")
}

#[tokio::test]
async fn no_client_sees_more_than_a_reconnect_while_every_part_restarts() -> Result<()> {
    // What a writer held when its server went is not waited for half a minute.
    let builder =
        Cluster::build().collectors(2).writers(2).queries(2).env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", "2");
    let mut cluster = builder.start().await?;
    let collectors = Front::before(cluster.collectors.iter().map(Service::port).collect()).await?;
    let queries = Front::before(cluster.queries.iter().map(Service::port).collect()).await?;

    let load = Load::start(vec![collectors.url()], &Options::default());
    load.progress(PROGRESS).await?;
    let program = Program::start(collectors.url()).await?;
    let sender = Witness::start(Kind::Sender, collectors.url());
    let asker = Witness::start(Kind::Asker, collectors.url());
    let viewer = Witness::start(Kind::Viewer, queries.url());
    let content = |what: &str| {
        println!("{what} restarted");
        ensure!(
            [&sender, &asker, &viewer].iter().all(|witness| witness.is_content()),
            "after {what} a client is not content"
        );
        Ok(())
    };

    for number in 0..2 {
        roll(&mut cluster.collectors[number], &load).await.with_context(|| format!("collector {number}"))?;
        content("a collector")?;
        roll(&mut cluster.writers[number], &load).await.with_context(|| format!("writer {number}"))?;
        content("a writer")?;
        roll(&mut cluster.queries[number], &load).await.with_context(|| format!("query service {number}"))?;
        content("a query service")?;
    }
    // The only server: acknowledgements wait as long as it is away, and nobody is sent away for it.
    cluster.nats.terminate().await?;
    cluster.nats.restart().await?;
    load.progress(PROGRESS).await.context("after NATS came back")?;
    content("NATS")?;
    // Acknowledgements go on without Postgres, because the bus gives them.
    cluster.postgres.terminate().await?;
    load.progress(PROGRESS).await.context("without Postgres")?;
    cluster.postgres.restart().await?;
    load.progress(PROGRESS).await?;
    content("Postgres")?;

    let (sent, asked, watched) = (sender.hear().await?, asker.hear().await?, viewer.hear().await?);
    let (recorded, figures) = program.finish().await?;
    let mut ledger = load.finish(patience()).await?;
    ledger.add(&sent.ledger);
    ledger.add(&recorded);
    println!("{} batches of {} events", ledger.batches_sent(), ledger.events_sent());
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await?;
    // Two collectors restarted, and each may have been the one; the viewer saw two query services go.
    for (who, testimony) in [("sender", &sent), ("asker", &asked), ("viewer", &watched)] {
        tell(who, testimony);
        ensure!(testimony.reconnects <= 2, "{who}: {} reconnects", testimony.reconnects);
        ensure!(testimony.answered > PROGRESS, "{who}: only {} answers", testimony.answered);
    }
    println!(
        "our client: {} events, {} connections, {} batches of {} sent again",
        figures.events_acked, figures.connections, figures.batches_resent, figures.batches_sent
    );
    ensure!(figures.connections <= 3 && figures.server_errors == 0, "our client: {figures:?}");
    ensure!(sent.retries == 0, "a batch was answered with an error {} times", sent.retries);
    Ok(())
}

fn tell(who: &str, seen: &Testimony) {
    println!(
        "{who}: {} answers, {} reconnects, {} tries again, longest wait {:?}",
        seen.answered, seen.reconnects, seen.retries, seen.longest
    );
}
