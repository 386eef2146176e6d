//! Refusals are answered, and counted, as `shared/protocol/ERRORS.md` says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, NatsServer, Service, events, frames, frames::Batch};
use serde_json::{Value, json};
use uuid::Uuid;

/// What the page says of a reason: the code, and whether sending again helps.
fn documented(reason: &str) -> Result<(String, bool)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/protocol/ERRORS.md");
    let page = std::fs::read_to_string(file)?;
    let row = page.lines().find(|line| line.starts_with(&format!("| `{reason}` |"))).context("not in the page")?;
    let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    Ok((cells[2].to_owned(), cells[3] == "yes"))
}

async fn check(service: &Service, client: &mut Client, reason: &str, request: &Value) -> Result<()> {
    const REFUSED: &str = "reflow_session_refused_total";
    let answer = client.ask(request).await?;
    let (code, again) = documented(reason)?;
    let error = &answer["Error"];
    ensure!(error["code"] == code && error["retryable"] == again, "{answer}, but the page has {code}, {again}");
    ensure!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    let counted = service.metrics().await?.sum(REFUSED, &[("reason", reason)]);
    ensure!(counted == Some(1.0), "counted as refused for this reason: {counted:?}");
    Ok(())
}

#[tokio::test]
async fn refusals_have_the_documented_code_and_are_counted_by_their_reason() -> Result<()> {
    let service = Service::standalone().start().await?;
    let mut client = service.connect_v2().await?;
    let batch = |change: fn(&mut Batch)| {
        let mut batch = Batch::new("codes", events::program(1));
        change(&mut batch);
        batch.request()
    };
    let subscribe = |name: usize| json!({"Subscribe": {"filters": {}, "subscription_id": name.to_string()}});
    for name in 0..16 {
        client.ask(&subscribe(name)).await?;
    }
    for (reason, request) in [
        ("not_a_request", json!([])),
        ("unknown_request", json!({"DropEverything": {}})),
        ("request_fields", json!({"GetTrace": {"trace_id": "x"}})),
        ("name", batch(|batch| batch.flow_id = Some("long".repeat(200)))),
        ("payload", {
            let mut request = batch(|_| {});
            request["RecordBatch"]["events"] = json!({"not": "a list"});
            request
        }),
        ("batch_events", batch(|batch| batch.events = events::program(10_001))),
        ("subscriptions", subscribe(16)),
    ] {
        check(&service, &mut client, reason, &request).await.context(reason)?;
    }
    // v1 knows six codes, and no `retryable`.
    let answer = service.connect().await?.ask(&batch(|_| {})).await?;
    ensure!(documented("batch_in_v1")?.0 == "Unsupported" && answer["Error"]["code"] == "InvalidRequest", "{answer}");
    ensure!(answer["Error"].get("retryable").is_none(), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_question_that_nobody_can_answer_now_is_worth_asking_again() -> Result<()> {
    let nats = NatsServer::start().await?;
    let collector = Service::collector().nats(&nats).start().await?;
    let (code, again) = documented("history_unavailable")?;
    let question = frames::get_trace(Uuid::new_v4());
    let answer = collector.connect_v2().await?.ask(&question).await?;
    ensure!(answer["Error"]["code"] == code && answer["Error"]["retryable"] == again, "{answer}");
    let answer = collector.connect().await?.ask(&question).await?;
    ensure!(code == "Unavailable" && answer["Error"]["code"] == "StorageError", "{answer}");
    Ok(())
}
