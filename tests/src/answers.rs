//! Reads answers: what was recorded, what was refused and why, and the events of a trace.
//!
//! Each function fails with the answer itself when it is another one than the test counted on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::events;

/// `EventRecorded {success: true}`.
///
/// # Errors
/// When it is anything else.
pub fn recorded(answer: &Value) -> Result<()> {
    ensure!(answer.pointer("/EventRecorded/success") == Some(&Value::Bool(true)), "not recorded: {answer:.500}");
    Ok(())
}

/// The id in `TraceStarted`.
///
/// # Errors
/// When it is anything else.
pub fn started(answer: &Value) -> Result<Uuid> {
    uuid_at(answer, "/TraceStarted/trace_id")
}

/// The reason of a refusal: an `Error`, or `EventRecorded {success: false}`.
///
/// # Errors
/// When it is no refusal, or one without a reason.
pub fn refusal(answer: &Value) -> Result<String> {
    let reason = match answer.pointer("/EventRecorded/success") {
        Some(Value::Bool(false)) => answer.pointer("/EventRecorded/error"),
        _ => answer.pointer("/Error/message"),
    };
    match reason.and_then(Value::as_str) {
        Some(reason) if !reason.is_empty() => Ok(reason.to_owned()),
        _ => bail!("not a refusal with a reason: {answer:.500}"),
    }
}

/// `BatchRecorded`: how many events were accepted, and the places of the others with the reasons.
///
/// # Errors
/// When it is anything else, or the answer to another batch.
pub fn batch_recorded(answer: &Value, batch_id: Uuid) -> Result<(u64, Vec<(u64, String)>)> {
    let body = answer.get("BatchRecorded").with_context(|| format!("not recorded: {answer:.500}"))?;
    ensure!(body["batch_id"] == batch_id.to_string(), "an answer to another batch: {answer:.500}");
    let accepted = body["accepted"].as_u64().context("no count of accepted events")?;
    let rejected = body["rejected"].as_array().context("no list of rejected events")?;
    let rejected = rejected
        .iter()
        .map(|entry| Some((entry["index"].as_u64()?, entry["reason"].as_str()?.to_owned())))
        .collect::<Option<_>>()
        .with_context(|| format!("not a list of index and reason: {rejected:?}"))?;
    Ok((accepted, rejected))
}

/// The trace in `TraceData`, or `None` where it is null.
///
/// # Errors
/// When it is another answer.
pub fn trace(answer: &Value) -> Result<Option<&Value>> {
    let trace = answer.pointer("/TraceData/trace").with_context(|| format!("not a trace: {answer:.500}"))?;
    Ok((!trace.is_null()).then_some(trace))
}

/// The events of a trace by their ids.
///
/// # Errors
/// When one is there twice, or there is no list of events.
pub fn events(trace: &Value) -> Result<BTreeMap<String, Value>> {
    let list = trace["events"].as_array().with_context(|| format!("no events in {trace:.500}"))?;
    let events: BTreeMap<_, _> = list.iter().map(|event| (events::id(event).to_owned(), event.clone())).collect();
    ensure!(events.len() == list.len(), "{} events, but {} different ones", list.len(), events.len());
    Ok(events)
}

/// Events as sent, by their ids: what [`events()`] of their trace must be equal to.
#[must_use]
pub fn by_id(sent: &[Value]) -> BTreeMap<String, Value> {
    sent.iter().map(|event| (events::id(event).to_owned(), event.clone())).collect()
}

/// The traces in `QueryResults`, and the true number of matches.
///
/// # Errors
/// When it is another answer.
pub fn found(answer: &Value) -> Result<(&Vec<Value>, u64)> {
    let body = answer.get("QueryResults").with_context(|| format!("not a list of traces: {answer:.500}"))?;
    let traces = body["traces"].as_array().context("no list of traces")?;
    Ok((traces, body["total_count"].as_u64().context("no total count")?))
}

/// A uuid somewhere in an answer.
///
/// # Errors
/// When there is none.
pub fn uuid_at(answer: &Value, pointer: &str) -> Result<Uuid> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    let text = text.with_context(|| format!("no {pointer} in {answer:.500}"))?;
    Uuid::try_parse(text).with_context(|| format!("no uuid: {text}"))
}
