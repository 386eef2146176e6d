//! The ledger notices what it is there to notice.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Ledger, Service, answers, events, frames::Batch};
use tempfile::TempDir;

struct Scene {
    service: Service,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
        Ok(Self { service, folder })
    }

    async fn send(&self, batch: &Batch) -> Result<()> {
        let answer = self.service.connect_v2().await?.ask(&batch.request()).await?;
        answers::batch_recorded(&answer, batch.batch_id).map(drop)
    }

    async fn check_batches(&self, ledger: &Ledger) -> Result<()> {
        ledger.check_batches(self.folder.path().join("traces.db").as_path()).await
    }
}

fn reason(outcome: Result<()>) -> Result<String> {
    Ok(format!("{:#}", outcome.err().context("it went unnoticed")?))
}

#[tokio::test]
async fn what_nobody_sent_is_noticed() -> Result<()> {
    let scene = Scene::start().await?;
    let first = Batch::new("ledger", events::program(5));
    let second = first.next(events::program(3));
    scene.send(&first).await?;
    scene.send(&second).await?;
    let ledger = Ledger::of_acked(&[first.clone(), second.clone()]);
    scene.check_batches(&ledger).await?;
    ledger.check_all(scene.folder.path().join("traces.db").as_path(), &scene.service).await?;

    let found = reason(scene.check_batches(&Ledger::of_acked(std::slice::from_ref(&first))).await)?;
    ensure!(found.contains("nobody sent it") && found.contains(&second.batch_id.to_string()), "{found}");
    let fewer = Batch { events: second.events[1..].to_vec(), ..second.clone() };
    let found = reason(scene.check_batches(&Ledger::of_acked(&[first.clone(), fewer])).await)?;
    ensure!(found.contains("is stored with 3"), "{found}");
    // As many, but others.
    let others = Batch { events: events::program(3), ..second };
    let ledger = Ledger::of_acked(&[first, others]);
    scene.check_batches(&ledger).await?;
    let found = reason(ledger.check_traces(&scene.service).await)?;
    ensure!(found.contains("or others"), "{found}");
    Ok(())
}

/// The batch is known, and belongs to another trace.
#[tokio::test]
async fn a_trace_nobody_sent_is_noticed() -> Result<()> {
    let scene = Scene::start().await?;
    let batch = Batch::new("ledger", events::program(5));
    scene.send(&batch).await?;
    let elsewhere = Batch { trace_id: uuid::Uuid::now_v7(), ..batch };
    let found = reason(scene.check_batches(&Ledger::of_acked(&[elsewhere])).await)?;
    ensure!(found.contains("nobody sent trace"), "{found}");
    Ok(())
}

#[test]
fn only_traces_that_have_grown_are_looked_at_again() {
    let (one, two) = (Batch::new("ledger", events::program(5)), Batch::new("ledger", events::program(4)));
    let more = two.next(events::program(3));
    let earlier = Ledger::of_acked(&[one.clone(), two.clone()]);
    let later = Ledger::of_acked(&[one, two, more]);
    let since = later.since(&earlier);
    assert_eq!((since.batches_sent(), since.events_sent()), (2, 7));
    assert_eq!(later.since(&later).batches_sent(), 0);
}
