//! What has to hold for a published program, whatever stands behind the address it was given.
//!
//! * All its events, also those before its `StartTrace`, are in one trace, under its flow id, each once and unchanged.
//! * Every reader gives the same answer.
//! * A live viewer saw each event once.
//! * Programs that ran at the same time are two traces.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_protocol::{ExecutionStatus, FlowTrace};
use reflow_tracing_tests::{answers, eventually, patience};

use crate::{
    program::{MESSAGES, Program, Sent},
    reader::{Reader, Viewer},
};

/// One program into `ingest`, looked at live and afterwards through each of `readers`.
pub async fn one_program_is_one_trace(ingest: &str, readers: &[String]) -> Result<()> {
    let mut viewers = Vec::new();
    for url in readers {
        viewers.push(Viewer::subscribe(url).await?);
    }

    let mut program = Program::start(ingest).await?;
    program.end().await?;
    let sent = program.sent()?;
    ensure!(sent.before_start > 0, "the program sent nothing before StartTrace: this test shows less than it should");
    ensure!(program.flows("transformer", "sink") > MESSAGES * 9 / 10, "most of what the program did was not traced");

    let trace = whole_trace(&sent, readers).await?;
    in_order_answers(&program, &trace)?;
    for viewer in viewers {
        let seen = viewer.finish().await?;
        let distinct: HashSet<&String> = seen.iter().map(|(_, event_id)| event_id).collect();
        assert_eq!(seen.len(), distinct.len(), "a live viewer saw an event twice");
        assert_eq!(distinct, sent.events.keys().collect::<HashSet<_>>(), "a live viewer saw other events");
        ensure!(seen.iter().all(|(id, _)| *id == trace.trace_id), "a live viewer saw another trace id");
    }
    Ok(())
}

/// Two programs at once, perhaps with the same flow id: it has seconds in it, and nothing else.
pub async fn two_programs_are_two_traces(ingest: &str, readers: &[String]) -> Result<()> {
    let (mut one, mut two) = (Program::start(ingest).await?, Program::start(ingest).await?);
    tokio::try_join!(one.end(), two.end())?;
    let first = whole_trace(&one.sent()?, readers).await?;
    let second = whole_trace(&two.sent()?, readers).await?;
    assert_ne!(first.trace_id, second.trace_id);
    Ok(())
}

/// Waits until the trace of what was sent is there and complete, and checks it against the record in every reader.
async fn whole_trace(sent: &Sent, readers: &[String]) -> Result<FlowTrace> {
    let first = readers.first().context("no reader")?;
    let found = eventually(patience(), || async {
        let trace = find(&mut Reader::connect(first).await?, sent).await?;
        ensure!(trace.status == ExecutionStatus::Completed, "the trace is {:?}", trace.status);
        Ok(trace)
    })
    .await?;
    assert_eq!(found.flow_id.as_str(), sent.flow_id);

    let mut answers = Vec::new();
    for url in readers {
        let (answer, trace) = Reader::connect(url).await?.trace(&found.trace_id).await?;
        assert_eq!(trace.trace_id, found.trace_id);
        assert_eq!(trace.flow_id.as_str(), sent.flow_id);
        let events = answers::events(&answer["TraceData"]["trace"])?;
        for (id, event) in &sent.events {
            assert_eq!(events.get(id), Some(event), "event {id} differs from what was sent");
        }
        answers.push(answer);
    }
    ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "readers give different answers");
    Ok(found)
}

/// The one trace under the flow id that holds what was sent; fails while any of it is missing.
pub async fn find(reader: &mut Reader, sent: &Sent) -> Result<FlowTrace> {
    let (listed, total) = reader.traces_of(&sent.flow_id).await?;
    ensure!(total == listed.len(), "{total} traces in all, {} listed", listed.len());
    let mut holders = Vec::new();
    for candidate in listed {
        let (answer, trace) = reader.trace(&candidate.trace_id).await?;
        let events = answers::events(&answer["TraceData"]["trace"])?;
        let ours = events.keys().filter(|id| sent.events.contains_key(*id)).count();
        if ours > 0 {
            holders.push((ours, events.len(), trace));
        }
    }
    let Some((ours, all, trace)) = holders.pop() else {
        bail!("no trace of {} holds an event of the program", sent.flow_id);
    };
    ensure!(holders.is_empty(), "the program's events are in {} traces", holders.len() + 1);
    ensure!(ours == sent.events.len(), "{ours} of {} events are there", sent.events.len());
    ensure!(all == ours, "{} events of somebody else are in the trace", all - ours);
    Ok(trace)
}

/// Each frame was answered in its order: `TraceStarted`, with the trace's id, stands where `StartTrace` stood.
///
/// A program that hung up may have missed the last answers.
fn in_order_answers(program: &Program, trace: &FlowTrace) -> Result<()> {
    let (frames, answers) = (program.proxy().sent(), program.proxy().answers());
    ensure!(answers.len() <= frames.len(), "{} answers to {} frames", answers.len(), frames.len());
    ensure!(answers.len() * 2 > frames.len(), "only {} of {} frames were answered", answers.len(), frames.len());
    for (frame, answer) in frames.iter().zip(&answers) {
        let right = if frame.get("StartTrace").is_some() {
            answer.pointer("/TraceStarted/trace_id") == Some(&serde_json::to_value(&trace.trace_id)?)
        } else {
            answer.pointer("/EventRecorded/success") == Some(&true.into())
        };
        ensure!(right, "{frame:.300} was answered with {answer}");
    }
    Ok(())
}
