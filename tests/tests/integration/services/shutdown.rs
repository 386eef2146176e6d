//! SIGTERM under load: each service ends by itself, in time, and nothing that was acknowledged is lost.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Load, Service, answers, events,
    frames::{self, Batch},
    load::Options,
    patience,
};

use super::{record_all, sent};

/// More acknowledgements than can have been under way.
const PROGRESS: usize = 50;

async fn terminate(service: &mut Service) -> Result<()> {
    let status = service.terminate().await?;
    ensure!(status.success(), "it ended with {status}\n{}", service.process().tail());
    Ok(())
}

#[tokio::test]
async fn collectors_and_writers_drain_under_load() -> Result<()> {
    let mut cluster = Cluster::build().collectors(2).writers(2).start().await?;
    let options = Options { pace: std::time::Duration::from_millis(5), ..Options::default() };
    let load = Load::start(cluster.collector_urls(), &options);
    for number in [0, 1] {
        load.progress(PROGRESS).await?;
        terminate(&mut cluster.collectors[number]).await?;
        load.progress(PROGRESS).await?;
        cluster.collectors[number].restart().await?;
        terminate(&mut cluster.writers[number]).await?;
        load.progress(PROGRESS).await?;
        cluster.writers[number].restart().await?;
    }
    let ledger = load.finish(patience()).await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

/// What a writer had in hand is given back or committed; the next one need not wait for the ack wait of half a minute.
#[tokio::test]
async fn the_last_writer_leaves_everything_to_the_next() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let load = Load::start(cluster.collector_urls(), &Options::default());
    load.progress(PROGRESS).await?;
    terminate(&mut cluster.writers[0]).await?;
    load.progress(PROGRESS).await?;
    let ledger = load.finish(patience()).await?;
    cluster.writers[0].restart().await?;
    ledger.check_all(&cluster.postgres, &cluster.queries[0]).await
}

#[tokio::test]
async fn a_query_service_answers_what_it_was_asked_and_leaves() -> Result<()> {
    let mut cluster = Cluster::build().queries(2).start().await?;
    let events = (0..500).map(|_| events::large(1_000)).collect();
    let batch = Batch::new("asked", events);
    record_all(&mut cluster.collectors[0].connect_v2().await?, std::slice::from_ref(&batch)).await?;
    cluster.trace_with(batch.trace_id, 500).await?;

    let mut direct = cluster.queries[0].connect().await?;
    let mut over_the_bus = cluster.collectors[0].connect().await?;
    let questions = vec![frames::get_trace(batch.trace_id); 40];
    // Answered one and all, or the goodbye comes between two answers and none is cut off.
    let asking = async {
        let mut answered = 0;
        for question in &questions {
            if direct.send_json(question).await.is_err() {
                break;
            }
            match direct.answer_or_ending().await? {
                Ok(answer) => {
                    let trace = answers::trace(&answer)?.context("the trace is gone")?;
                    ensure!(answers::events(trace)? == sent(std::slice::from_ref(&batch)), "not what was sent");
                    answered += 1;
                }
                Err(ending) => {
                    ensure!(matches!(ending, reflow_tracing_tests::Ending::Closed(_)), "{ending:?}");
                    break;
                }
            }
        }
        anyhow::Ok(answered)
    };
    let collector_asking = async {
        for question in &questions {
            let answer = over_the_bus.ask(question).await?;
            let trace = answers::trace(&answer).context("a question was lost on the way")?;
            ensure!(trace.is_some(), "the trace is gone");
        }
        anyhow::Ok(())
    };
    let (ending, other) = cluster.queries.split_at_mut(1);
    let (status, answered, ()) = tokio::try_join!(ending[0].terminate(), asking, collector_asking)?;
    ensure!(status.success(), "it ended with {status} after {answered} answers\n{}", ending[0].process().tail());
    ensure!(Cluster::trace_from(&other[0], batch.trace_id, 500).await.is_ok(), "the other one does not answer");
    Ok(())
}
