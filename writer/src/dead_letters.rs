//! Dead letters for people: why each could not be stored, when, and what it was about.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use reflow_tracing_bus::{DeadLetter, NatsBus, NatsOptions};
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::Config;
use serde_json::{Value, json};

/// Prints the newest dead letters of the bus, one JSON object a line, newest first. It changes nothing there, whatever its settings are.
///
/// # Errors
///
/// When they cannot be read. A bus that is away is waited for.
pub async fn print(config: &Config, limit: usize) -> anyhow::Result<()> {
    let options = NatsOptions::of(config, "reflow-writer dead-letters")?;
    let (letters, kept) = NatsBus::read_dead_letters(options, limit).await.context("cannot read the dead letters")?;
    tell(&letters, kept)
}

/// Prints letters, one JSON object a line, and on standard error how many of those that are `kept` these are.
///
/// # Errors
///
/// When they cannot be written; a reader that has seen enough is no error.
pub fn tell(letters: &[DeadLetter], kept: u64) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut written = letters.iter().try_for_each(|letter| writeln!(out, "{}", describe(letter)));
    written = written.and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        written => written.context("cannot print the dead letters")?,
    }
    eprintln!("{} of {kept} dead letters", letters.len());
    Ok(())
}

/// One dead letter, as far as it can be read.
pub fn describe(letter: &DeadLetter) -> Value {
    let mut out = json!({
        "reason": letter.reason,
        "at": date(letter.at_us),
        "message_bytes": letter.message.len(),
    });
    let chunk = match Chunk::decode(letter.message.clone()) {
        Ok(Chunk { header, payload }) => json!({
            "chunk_id": header.chunk_uuid(),
            "trace_id": header.trace_uuid(),
            "tenant": header.tenant,
            "flow_id": header.flow_id,
            "received": date(header.received_us),
            "events": header.event_count,
            "payload_bytes": payload.len(),
            "client_id": header.client.as_ref().map(|client| &client.client_id),
        }),
        Err(error) => json!({ "unreadable": error.to_string() }),
    };
    out["chunk"] = chunk;
    out
}

fn date(us: i64) -> Option<String> {
    DateTime::<Utc>::from_timestamp_micros(us).map(|date| date.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tests::fake::message;

    #[test]
    fn readable_and_unreadable_letters_are_described() {
        let letter = |message| DeadLetter { reason: "rejected: nul".into(), at_us: 1_700_000_000_000_000, message };
        let described = describe(&letter(message("a")));
        assert_eq!((&described["reason"], &described["chunk"]["events"]), (&json!("rejected: nul"), &json!(1)));
        assert_eq!(described["at"], "2023-11-14T22:13:20.000000Z");
        let described = describe(&letter(Bytes::from_static(b"nonsense")));
        assert!(described["chunk"]["unreadable"].is_string() && described["message_bytes"] == 8);
    }
}
