//! Against `reflow-tracing` with SQLite: one process, one file.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{Service, answers};

use crate::{
    check,
    program::{MESSAGES, Program},
    reader::Reader,
};

async fn start(folder: &tempfile::TempDir) -> Result<Service> {
    Service::standalone().sqlite(&folder.path().join("traces.db")).start().await
}

#[tokio::test]
async fn a_program_is_one_whole_trace_in_one_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = start(&folder).await?;
    check::one_program_is_one_trace(&service.url(), &[service.url()]).await
}

#[tokio::test]
async fn two_programs_at_once_are_two_traces_in_one_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = start(&folder).await?;
    check::two_programs_are_two_traces(&service.url(), &[service.url()]).await
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut service = start(&folder).await?;
    let program = Program::start_and_stay(&service.url()).await?;
    program.all_answered().await?;

    service.kill9().await?;
    let acknowledged = program.acknowledged();
    let sent = program.sent()?;
    service.restart().await?;

    let mut reader = Reader::connect(&service.url()).await?;
    let (traces, total) = reader.traces_of(&sent.flow_id).await?;
    assert_eq!((traces.len(), total), (1, 1));
    let (answer, _) = reader.trace(&traces[0].trace_id).await?;
    let stored = answers::events(&answer["TraceData"]["trace"])?;
    for (id, event) in &acknowledged {
        assert_eq!(stored.get(id), Some(event), "an acknowledged event is gone or changed");
    }
    ensure!(stored.keys().all(|id| sent.events.contains_key(id)), "there is more than was sent");
    ensure!(acknowledged.len() > MESSAGES, "only {} events were acknowledged", acknowledged.len());
    Ok(())
}
