//! Small frames that grow: not only in bytes when they are decompressed, but in what they are parsed into.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, frames};
use serde_json::json;
use uuid::Uuid;

use crate::batches::binary_batch;
use crate::scene::{Scene, compress};

/// What a frame may decompress to, less what is around the bomb.
const RAW_BYTES: usize = (64 << 20) - 1_024;
/// The frame's text, once more as it is worked on, and what the service needs to be there.
const MOST_MEMORY_BYTES: u64 = 200 << 20;

/// So many bytes of an array of small elements.
fn array(element: &str) -> String {
    format!("[{}{element}]", format!("{element},").repeat(RAW_BYTES / (element.len() + 1) - 1))
}

/// Sends a frame of a v1 or v2 session to a service of its own, which refuses it and has used little memory.
async fn costs_little(v2: bool, frame: Vec<u8>) -> Result<()> {
    ensure!(frame.len() < 1 << 20, "the bomb is too large to be one: {} bytes", frame.len());
    let mut scene = Scene::start().await?;
    let mut client = if v2 { scene.service.connect_v2().await? } else { scene.service.connect().await? };
    client.send_binary(frame).await?;
    answers::refusal(&client.recv_json().await?)?;
    scene.go_on().await?;
    let peak = scene.service.process().peak_resident_bytes()?;
    ensure!(peak < MOST_MEMORY_BYTES, "the service used {} MiB", peak >> 20);
    scene.end().await
}

#[tokio::test]
async fn a_batch_of_millions_of_numbers() -> Result<()> {
    let raw = array("1");
    costs_little(true, binary_batch(raw.len() as u64, "zstd", &compress(raw.as_bytes())?)).await
}

/// A `StoreTrace` of an event that is none, in which `bomb` is what stands under `name`, which may be a field that nobody knows.
fn stored(name: &str, bomb: &str) -> Result<Vec<u8>> {
    let mut trace = frames::flow_trace(Uuid::new_v4(), "bomb", &[]);
    trace["events"] = json!([17]);
    trace[name] = json!("here");
    let request = frames::store_trace(&trace).to_string();
    compress(request.replacen("\"here\"", bomb, 1).as_bytes())
}

#[tokio::test]
async fn a_stored_trace_of_millions_of_numbers() -> Result<()> {
    costs_little(false, stored("events", &array("1"))?).await
}

#[tokio::test]
async fn a_stored_trace_with_millions_of_lists_in_its_head() -> Result<()> {
    for name in ["version", "metadata", "unknown"] {
        costs_little(false, stored(name, &array("[]"))?).await.context(name)?;
    }
    Ok(())
}

#[tokio::test]
async fn filters_of_millions_of_empty_names() -> Result<()> {
    let request = format!("{{\"Subscribe\":{{\"filters\":{{\"flow_ids\":{}}}}}}}", array("\"\""));
    costs_little(false, compress(request.as_bytes())?).await
}
