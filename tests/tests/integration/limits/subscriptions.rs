//! `max_subscriptions`: what is sent in one write counts as if it were sent one by one.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, NatsServer, Service, ServiceBuilder, answers};
use serde_json::{Value, json};

const MAX: usize = 4;

fn limited(service: ServiceBuilder) -> ServiceBuilder {
    service.env("REFLOW_TRACING_LIMITS__MAX_SUBSCRIPTIONS", MAX.to_string())
}

fn subscribe(name: &str) -> Value {
    json!({"Subscribe": {"filters": {}, "subscription_id": name}})
}

/// What these requests, sent in one write, are answered with.
async fn in_one_write(client: &mut Client, requests: &[Value]) -> Result<Vec<Value>> {
    for request in requests {
        client.feed_text(request.to_string()).await?;
    }
    client.flush().await?;
    let mut all = Vec::new();
    for request in requests {
        all.push(client.recv_json().await.with_context(|| request.to_string())?);
    }
    Ok(all)
}

fn ensure_subscribed(answer: &Value, name: &str) -> Result<()> {
    ensure!(answer["Subscribed"]["subscription_id"] == name, "{name} is not subscribed: {answer}");
    Ok(())
}

fn ensure_over_the_limit(answer: &Value) -> Result<()> {
    let reason = answers::refusal(answer)?;
    ensure!(reason.contains("max_subscriptions") && reason.contains(&MAX.to_string()), "{reason}");
    ensure!(answer["Error"]["code"] == "LimitExceeded" && answer["Error"]["retryable"] == false, "{answer}");
    Ok(())
}

async fn viewers(service: &Service) -> Result<Option<f64>> {
    service.metric("reflow_session_live_viewers").await
}

#[tokio::test]
async fn subscriptions_sent_in_one_write_are_held_to_the_limit() -> Result<()> {
    let service = limited(Service::standalone()).start().await?;
    let mut client = service.connect_v2().await?;
    ensure!(client.limit("max_subscriptions")? == MAX as u64, "another limit is announced");
    let names: Vec<String> = (0..MAX + 3).map(|number| format!("view {number}")).collect();
    let requests: Vec<_> = names.iter().map(|name| subscribe(name)).collect();
    let all = in_one_write(&mut client, &requests).await?;
    for (name, answer) in names.iter().zip(&all[..MAX]) {
        ensure_subscribed(answer, name)?;
    }
    all[MAX..].iter().try_for_each(ensure_over_the_limit)?;
    ensure!(viewers(&service).await? == Some(MAX as f64), "refused ones are open: {:?}", viewers(&service).await?);

    // One of the same name takes no room; one more does, until another has ended.
    let end = json!({"Unsubscribe": {"subscription_id": names[1]}});
    let requests = [subscribe(&names[0]), subscribe("late"), end, subscribe("late"), subscribe("too late")];
    let all = in_one_write(&mut client, &requests).await?;
    ensure_subscribed(&all[0], &names[0])?;
    ensure_over_the_limit(&all[1])?;
    answers::recorded(&all[2])?;
    ensure_subscribed(&all[3], "late")?;
    ensure_over_the_limit(&all[4])?;
    ensure!(viewers(&service).await? == Some(MAX as f64), "{:?} are open", viewers(&service).await?);
    Ok(())
}

/// Without names the server makes them, and each is one more.
#[tokio::test]
async fn unnamed_subscriptions_are_held_to_the_limit() -> Result<()> {
    let service = limited(Service::standalone()).start().await?;
    let mut client = service.connect_v2().await?;
    let all = in_one_write(&mut client, &vec![json!({"Subscribe": {"filters": {}}}); MAX + 3]).await?;
    ensure!(all[..MAX].iter().all(|answer| answer["Subscribed"]["subscription_id"].is_string()), "{all:?}");
    all[MAX..].iter().try_for_each(ensure_over_the_limit)
}

/// Only `since` can fail to open: here because nobody answers questions to history.
#[tokio::test]
async fn a_subscription_that_failed_to_open_takes_no_room() -> Result<()> {
    let nats = NatsServer::start().await?;
    let service = limited(Service::collector().nats(&nats)).start().await?;
    let mut client = service.connect_v2().await?;
    let failing = json!({"Subscribe": {"filters": {}, "since": "2020-01-01T00:00:00Z"}});
    let mut requests = vec![failing.clone(); MAX + 1];
    requests.extend((0..=MAX).map(|number| subscribe(&format!("view {number}"))));
    let all = in_one_write(&mut client, &requests).await?;
    for answer in &all[..=MAX] {
        ensure!(answer["Error"]["code"] == "Unavailable", "it was not history that failed: {answer}");
    }
    for (number, answer) in all[MAX + 1..=2 * MAX].iter().enumerate() {
        ensure_subscribed(answer, &format!("view {number}"))?;
    }
    ensure_over_the_limit(&all[2 * MAX + 1])?;
    ensure!(viewers(&service).await? == Some(MAX as f64), "{:?} are open", viewers(&service).await?);
    Ok(())
}

/// v1 has one subscription a session: the next takes its place.
#[tokio::test]
async fn a_v1_session_is_never_over_the_limit() -> Result<()> {
    let service = Service::standalone().env("REFLOW_TRACING_LIMITS__MAX_SUBSCRIPTIONS", "1").start().await?;
    let mut client = service.connect().await?;
    let requests = vec![reflow_tracing_tests::frames::subscribe(&json!({})); 5];
    in_one_write(&mut client, &requests).await?.iter().try_for_each(answers::recorded)?;
    ensure!(viewers(&service).await? == Some(1.0), "{:?} are open", viewers(&service).await?);
    Ok(())
}
