//! Declares what the bus needs on the server: two streams and the writers' consumer.
//!
//! Guarantee: idempotent and safe to run in several binaries at once. What exists with other settings is updated where the
//! server can; where it cannot, the error names the stream, the setting, what is there and what is needed. Settings that we do
//! not speak of (placement, compression, description …) stay as an operator made them. Nothing that a stream holds is lost by it:
//! one that holds too much for a smaller size keeps the one it has.

use async_nats::jetstream::ErrorCode;
use serde_json::{Map, Value, json};

use super::api::{ApiError, request};
use super::link::Link;
use super::options::NatsOptions;
use super::subjects::{CHUNK_SUBJECTS, CHUNKS, DEAD, DEAD_SUBJECT, LIVE_SUBJECTS, WRITERS};
use crate::error::{BusError, BusErrorKind};

/// Settings that no server changes on an existing stream.
const FIXED_STREAM_SETTINGS: [&str; 2] = ["storage", "retention"];
/// Settings that no server changes on an existing consumer.
const FIXED_CONSUMER_SETTINGS: [&str; 3] = ["ack_policy", "deliver_policy", "replay_policy"];

type Settings = Map<String, Value>;

/// Declares everything once.
pub(crate) async fn declare(link: &Link, options: &NatsOptions) -> Result<(), BusError> {
    let server = Server { link };
    server.stream(CHUNKS, "bus.nats.stream_max_bytes", chunk_stream(options)).await?;
    server.stream(DEAD, "bus.nats.dead_max_bytes", dead_stream(options)).await?;
    server.consumer(consumer(options)).await
}

fn chunk_stream(options: &NatsOptions) -> Settings {
    let mut settings = stream(CHUNKS, CHUNK_SUBJECTS, options.stream_max_bytes, options);
    settings.insert("retention".to_owned(), json!("workqueue"));
    settings.insert("republish".to_owned(), json!({"src": CHUNK_SUBJECTS, "dest": LIVE_SUBJECTS}));
    settings
}

/// `discard = new` here, too: a dead letter that is thrown away to make room for another would be a silent loss. A full
/// stream keeps chunks in the work queue, where lag and the refusals are seen.
fn dead_stream(options: &NatsOptions) -> Settings {
    let mut settings = stream(DEAD, DEAD_SUBJECT, options.dead_max_bytes, options);
    settings.insert("retention".to_owned(), json!("limits"));
    settings
}

fn stream(name: &str, subjects: &str, max_bytes: u64, options: &NatsOptions) -> Settings {
    let settings = json!({
        "name": name,
        "subjects": [subjects],
        "storage": "file",
        "discard": "new",
        "max_bytes": max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "max_consumers": -1,
        "duplicate_window": options.duplicate_window.as_nanos() as u64,
    });
    let mut settings = into_settings(settings);
    if let Some(replicas) = options.replicas {
        settings.insert("num_replicas".to_owned(), json!(replicas));
    }
    settings
}

fn consumer(options: &NatsOptions) -> Settings {
    into_settings(json!({
        "durable_name": WRITERS,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": options.ack_wait.as_nanos() as u64,
        // For ever: what can never be stored goes to the dead letters by the writer's word, not by count.
        "max_deliver": -1,
        "max_ack_pending": options.max_ack_pending,
    }))
}

fn into_settings(value: Value) -> Settings {
    match value {
        Value::Object(settings) => settings,
        _ => Settings::new(),
    }
}

struct Server<'a> {
    link: &'a Link,
}

impl Server<'_> {
    async fn stream(&self, name: &str, size_setting: &str, mut wanted: Settings) -> Result<(), BusError> {
        let mut found = self.info(&format!("STREAM.INFO.{name}"), ErrorCode::STREAM_NOT_FOUND, name).await?;
        if found.is_none() {
            let mut config = wanted.clone();
            config.entry("num_replicas").or_insert(json!(1));
            match request(self.link, &format!("STREAM.CREATE.{name}"), Some(&Value::Object(config))).await {
                // Somebody else was quicker, with other settings.
                Err(error) if error.is(ErrorCode::STREAM_NAME_EXIST) => {
                    found = self.info(&format!("STREAM.INFO.{name}"), ErrorCode::STREAM_NOT_FOUND, name).await?;
                }
                created => return created.map(|_| ()).map_err(|error| explain(error, "create", name, &wanted)),
            }
        }
        let mut info = found.unwrap_or_default();
        let found = into_settings(info["config"].take());
        check_fixed(name, &found, &wanted, &FIXED_STREAM_SETTINGS)?;
        keep_what_it_holds(name, size_setting, &found, info["state"]["bytes"].as_u64(), &mut wanted);
        let changed = differing(&found, &wanted);
        if changed.is_empty() {
            return Ok(());
        }
        tracing::info!(stream = name, settings = ?changed, "updating stream");
        let config = Value::Object(merged(found, &wanted));
        let updated = request(self.link, &format!("STREAM.UPDATE.{name}"), Some(&config)).await;
        updated.map(|_| ()).map_err(|error| explain(error, "update", name, &wanted))
    }

    async fn consumer(&self, wanted: Settings) -> Result<(), BusError> {
        let info = format!("CONSUMER.INFO.{CHUNKS}.{WRITERS}");
        let found = self.info(&info, ErrorCode::CONSUMER_NOT_FOUND, WRITERS).await?;
        let config = match found {
            None => wanted.clone(),
            Some(mut info) => {
                let found = into_settings(info["config"].take());
                if found.get("deliver_subject").is_some_and(|subject| subject != "") {
                    return Err(mismatch(WRITERS, "deliver_subject", &found["deliver_subject"], &Value::Null));
                }
                check_fixed(WRITERS, &found, &wanted, &FIXED_CONSUMER_SETTINGS)?;
                let changed = differing(&found, &wanted);
                if changed.is_empty() {
                    return Ok(());
                }
                tracing::info!(consumer = WRITERS, settings = ?changed, "updating consumer");
                merged(found, &wanted)
            }
        };
        // This form creates and updates, on every server since 2.9.
        let subject = format!("CONSUMER.DURABLE.CREATE.{CHUNKS}.{WRITERS}");
        let body = json!({"stream_name": CHUNKS, "config": config});
        let created = request(self.link, &subject, Some(&body)).await;
        created.map(|_| ()).map_err(|error| explain(error, "create", WRITERS, &wanted))
    }

    /// Configuration and state of what is there, `None` when nothing is.
    async fn info(&self, subject: &str, missing: ErrorCode, name: &str) -> Result<Option<Value>, BusError> {
        match request(self.link, subject, None).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(missing) => Ok(None),
            Err(error) => Err(error.into_bus("declare", name)),
        }
    }
}

/// A server that is told a smaller `max_bytes` removes the oldest messages beyond it, `discard = new` or not. So a stream becomes
/// smaller only when it fills at most half of the new size: the rest is for what comes in between the look and the update.
fn keep_what_it_holds(name: &str, setting: &str, found: &Settings, held: Option<u64>, wanted: &mut Settings) {
    let (Some(is), Some(asked)) = (found.get("max_bytes"), wanted.get("max_bytes").and_then(Value::as_u64)) else {
        return;
    };
    // -1, which is no u64, is no limit at all. A server that does not say what the stream holds may hold anything.
    let is_smaller = is.as_u64().is_none_or(|is| asked < is);
    if !is_smaller || held.is_some_and(|held| held <= asked / 2) {
        return;
    }
    tracing::warn!(
        stream = name,
        setting,
        asked,
        kept = %is,
        held,
        "stream keeps its size, for it holds more than half of the smaller one: set {setting} to {is} again, or start a service \
         once the stream holds less"
    );
    wanted.insert("max_bytes".to_owned(), is.clone());
}

/// Names of the settings that are not as wanted.
fn differing(found: &Settings, wanted: &Settings) -> Vec<String> {
    let differs = |(key, value): &(&String, &Value)| found.get(*key) != Some(value);
    wanted.iter().filter(differs).map(|(key, _)| key.clone()).collect()
}

fn merged(mut found: Settings, wanted: &Settings) -> Settings {
    found.extend(wanted.iter().map(|(key, value)| (key.clone(), value.clone())));
    found
}

fn check_fixed(name: &str, found: &Settings, wanted: &Settings, fixed: &[&str]) -> Result<(), BusError> {
    let null = Value::Null;
    for key in fixed {
        let (is, needed) = (found.get(*key).unwrap_or(&null), wanted.get(*key).unwrap_or(&null));
        if is != needed {
            return Err(mismatch(name, key, is, needed));
        }
    }
    Ok(())
}

fn mismatch(name: &str, key: &str, is: &Value, needed: &Value) -> BusError {
    let reason = format!(
        "{name} exists with {key} = {is}, needed is {needed}, and the server cannot change it: delete {name} or use another account"
    );
    BusError::new(BusErrorKind::Setup, "declare", reason)
}

fn explain(error: ApiError, doing: &str, name: &str, wanted: &Settings) -> BusError {
    let storage = error.is(ErrorCode::STORAGE_RESOURCES_EXCEEDED);
    let mut error = error.into_bus("declare", &format!("{doing} {name}"));
    if storage {
        error.reason.push_str(&format!("; max_bytes is {}", wanted.get("max_bytes").unwrap_or(&Value::Null)));
    }
    error
}
