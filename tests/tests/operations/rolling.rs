//! Every part is restarted, one after the other, under load, as a rollout does it: SIGTERM, a new start, the next one when the
//! last is ready. Collectors and query services stand behind HAProxy with the configuration of docker-compose.
//!
//! NATS is one server here; three of them: `nats_cluster.rs`.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Balancer, Cluster, Load, Redis, Service, load::Options, patience};

use crate::program::Program;
use crate::witness::{Kind, Testimony, Witness};

/// How many acknowledgements show that load flows.
const PROGRESS: usize = 20;

async fn roll(service: &mut Service, load: &Load, balancer: &Balancer) -> Result<()> {
    for backend in ["collectors", "queries"] {
        balancer.expect_up(backend, 2).await?;
    }
    load.progress(PROGRESS).await?;
    let status = service.terminate().await?;
    ensure!(status.success(), "it ended with {status}\n{}", service.process().tail());
    load.progress(PROGRESS).await.context("while it is away")?;
    service.restart().await?;
    load.progress(PROGRESS).await.context("after it came back")
}

#[tokio::test]
async fn no_client_sees_more_than_a_reconnect_while_every_part_restarts() -> Result<()> {
    let mut redis = Redis::start().await?;
    // What a writer held when its server went is not waited for half a minute.
    let builder = Cluster::build().collectors(2).writers(2).queries(2);
    let builder =
        builder.env("REFLOW_TRACING_BUS__NATS__ACK_WAIT_SECS", "2").env("REFLOW_TRACING_REDIS_URL", redis.url());
    let mut cluster = builder.start().await?;
    let mut balancer = Balancer::before(&cluster.collectors, &cluster.queries).await?;
    let (programs, people) = (balancer.programs_url(), balancer.people_url());

    let load = Load::start(vec![programs.clone()], &Options::default());
    load.progress(PROGRESS).await?;
    let program = Program::start(programs.clone()).await?;
    let sender = Witness::start(Kind::Sender, programs.clone());
    let asker = Witness::start(Kind::Asker, programs);
    let viewer = Witness::start(Kind::Viewer, people);
    let witnesses = [&sender, &asker, &viewer];
    let content = |what: &str| {
        println!("{what} restarted");
        ensure!(witnesses.iter().all(|witness| witness.is_content()), "after {what} a client is not content");
        Ok(())
    };

    for number in 0..2 {
        roll(&mut cluster.collectors[number], &load, &balancer).await.with_context(|| format!("collector {number}"))?;
        content("a collector")?;
        roll(&mut cluster.writers[number], &load, &balancer).await.with_context(|| format!("writer {number}"))?;
        content("a writer")?;
        roll(&mut cluster.queries[number], &load, &balancer)
            .await
            .with_context(|| format!("query service {number}"))?;
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

    // Collectors go on with what each remembers by itself.
    redis.terminate().await?;
    load.progress(PROGRESS).await.context("without Redis")?;
    redis.restart().await?;
    load.progress(PROGRESS).await?;
    content("Redis")?;
    ensure!(witnesses.iter().all(|witness| witness.cut_off() == 0), "a client was cut off without a goodbye");
    // The only load balancer: nobody comes in while it is away, and who is still inside in the end is cut off.
    balancer.stop().await?;
    balancer.start_again().await?;
    load.progress(PROGRESS).await.context("after HAProxy came back")?;
    content("HAProxy")?;
    ensure!(witnesses.iter().all(|witness| witness.cut_off() <= 1), "a client was cut off more than once");

    let (sent, asked, watched) = (sender.hear().await?, asker.hear().await?, viewer.hear().await?);
    let (recorded, figures) = program.finish().await?;
    let mut ledger = load.finish(patience()).await?;
    ledger.add(&sent.ledger);
    ledger.add(&recorded);
    println!("{} batches of {} events", ledger.batches_sent(), ledger.events_sent());
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await?;
    // Two collectors restarted, and each may have been the one; the viewer saw two query services go; then HAProxy.
    for (who, testimony) in [("sender", &sent), ("asker", &asked), ("viewer", &watched)] {
        tell(who, testimony);
        ensure!(testimony.reconnects <= 3, "{who}: {} reconnects", testimony.reconnects);
        ensure!(testimony.answered > PROGRESS, "{who}: only {} answers", testimony.answered);
    }
    println!(
        "our client: {} events, {} connections, {} batches of {} sent again",
        figures.events_acked, figures.connections, figures.batches_resent, figures.batches_sent
    );
    ensure!(figures.connections <= 4 && figures.server_errors == 0, "our client: {figures:?}");
    ensure!(sent.retries == 0, "a batch was answered with an error {} times", sent.retries);
    Ok(())
}

fn tell(who: &str, seen: &Testimony) {
    println!(
        "{who}: {} answers, {} reconnects, {} tries again, longest wait {:?}",
        seen.answered, seen.reconnects, seen.retries, seen.longest
    );
}
