//! Asks, eight at once over connections of their own, and times the answers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reflow_tracing_tests::frames::{self, Query};
use reflow_tracing_tests::{Client, Process};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::dataset::{Dataset, time};
use crate::meter::{Latencies, Meter};
use crate::options::Options;

const ASKERS: u64 = 8;
const PAGE: u64 = 20;
const HOUR_US: i64 = 3_600 * 1_000_000;

/// Whose CPU time counts beside our own.
type Processes<'p> = &'p [(&'static str, &'p Process)];

/// The answers to one kind of question.
pub struct Answered {
    pub what: String,
    pub goal_ms: f64,
    pub latencies: Latencies,
    /// CPU time of a question, and whose it was.
    pub cpu_ms: f64,
    pub shares: String,
}

/// The filters of `QueryTraces`, by name.
const FILTERS: [&str; 12] = [
    "no filter",
    "flow",
    "Running",
    "Completed",
    "Cancelled",
    "Failed, any error",
    "Failed, one error",
    "actor",
    "one hour",
    "execution",
    "flow and status",
    "actor, status and one hour",
];

/// Asks for large traces, then for pages under each filter.
pub async fn all(url: &str, processes: Processes<'_>, dataset: &Dataset, options: &Options) -> Result<Vec<Answered>> {
    let count = options.pick(100, 5);
    let traces = |rng: &mut StdRng| frames::get_trace(dataset.large[rng.random_range(0..dataset.large.len())]);
    // Warm: what is asked for has been asked for before.
    at_once(url, options.pick(50, 1), &traces).await?;
    let mut answered =
        vec![measured("GetTrace of 1,000 events".to_owned(), 20.0, url, processes, count, &traces).await?];
    for filter in FILTERS {
        let page = |rng: &mut StdRng| frames::query_traces(&query(dataset, filter, rng).limit(PAGE));
        at_once(url, options.pick(10, 1), &page).await?;
        answered.push(measured(format!("20 summaries: {filter}"), 50.0, url, processes, count / 2, &page).await?);
    }
    Ok(answered)
}

/// `count` questions of each asker, timed, with the CPU time that they cost everybody.
async fn measured(
    what: String,
    goal_ms: f64,
    url: &str,
    processes: Processes<'_>,
    count: usize,
    question: &(dyn Fn(&mut StdRng) -> Value + Sync),
) -> Result<Answered> {
    let meter = Meter::start(processes)?;
    let latencies = at_once(url, count, question).await?;
    let questions = latencies.len() as u64;
    let (rate, shares) = meter.stop(questions)?;
    Ok(Answered { what, goal_ms, latencies, cpu_ms: rate.cpu.as_secs_f64() * 1e3 / questions as f64, shares })
}

fn query(dataset: &Dataset, filter: &str, rng: &mut StdRng) -> Query {
    let mut pick = |len: usize| rng.random_range(0..len);
    let flow = &dataset.flows[pick(dataset.flows.len())];
    let actor = &dataset.actors[pick(dataset.actors.len())];
    let execution = dataset.executions[pick(dataset.executions.len())];
    let error = &dataset.errors[5 + pick(5)];
    let from = dataset.times.start + HOUR_US * pick(23) as i64;
    let all = Query::all();
    let failed = |error: &str| json!({"Failed": {"error": error}});
    let hour = |query: Query| query.between(time(from), time(from + HOUR_US));
    match filter {
        "flow" => all.flow(flow),
        "Failed, any error" => all.status(failed("")),
        "Failed, one error" => all.status(failed(error)),
        "actor" => all.actor(actor),
        "one hour" => hour(all),
        "execution" => all.execution(execution),
        "flow and status" => all.flow(flow).status(json!("Completed")),
        "actor, status and one hour" => hour(all.actor(actor).status(json!("Completed"))),
        "no filter" => all,
        status => all.status(json!(status)),
    }
}

/// `count` questions of each asker.
async fn at_once(url: &str, count: usize, question: &(dyn Fn(&mut StdRng) -> Value + Sync)) -> Result<Latencies> {
    let asker = |seed| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut client = Client::connect_v2(url).await?;
        let mut latencies = Latencies::default();
        for _ in 0..count {
            let question = question(&mut rng).to_string();
            let asked = Instant::now();
            client.send_text(question.as_str()).await?;
            let answer = client
                .recv_within(Duration::from_secs(60))
                .await?
                .with_context(|| format!("no answer to {question}"))?;
            latencies.add(asked.elapsed());
            let Message::Text(text) = &answer else { anyhow::bail!("not a text: {answer:?}") };
            let good = text.starts_with(r#"{"TraceData":{"trace":{"#) || text.starts_with(r#"{"QueryResults""#);
            ensure!(good, "{question} is answered {text:.300}");
        }
        Ok(latencies)
    };
    let mut all = Latencies::default();
    try_join_all((0..ASKERS).map(asker)).await?.into_iter().for_each(|latencies| all.extend(latencies));
    Ok(all)
}
