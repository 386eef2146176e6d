//! Asks, eight at once over connections of their own, and times the answers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reflow_tracing_tests::Client;
use reflow_tracing_tests::frames::{self, Query};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::dataset::{Dataset, time};
use crate::meter::Latencies;
use crate::options::Options;

const ASKERS: u64 = 8;
const PAGE: u64 = 20;
const HOUR_US: i64 = 3_600 * 1_000_000;

/// The answers to one kind of question.
pub struct Answered {
    pub what: String,
    pub goal_ms: f64,
    pub latencies: Latencies,
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
pub async fn all(url: &str, dataset: &Dataset, options: &Options) -> Result<Vec<Answered>> {
    let count = options.pick(100, 5);
    let traces = |rng: &mut StdRng| frames::get_trace(dataset.large[rng.random_range(0..dataset.large.len())]);
    // Warm: what is asked for has been asked for before.
    at_once(url, options.pick(50, 1), &traces).await?;
    let mut answered = vec![Answered {
        what: "GetTrace of 1,000 events".to_owned(),
        goal_ms: 20.0,
        latencies: at_once(url, count, &traces).await?,
    }];
    for filter in FILTERS {
        let page = |rng: &mut StdRng| frames::query_traces(&query(dataset, filter, rng).limit(PAGE));
        at_once(url, options.pick(10, 1), &page).await?;
        let latencies = at_once(url, count / 2, &page).await?;
        answered.push(Answered { what: format!("20 summaries: {filter}"), goal_ms: 50.0, latencies });
    }
    Ok(answered)
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
