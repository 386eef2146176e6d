//! What live filters ask history about traces that pass: short questions that a viewer waits for, and not for long.

use std::time::Duration;

use futures_util::TryStreamExt;
use reflow_tracing_bus::Patience;
use serde::de::DeserializeOwned;

use crate::ask::{Ask, Dialect};
use crate::capabilities::Shared;
use crate::question::encode;

/// A live event does not wait longer for what is to be known of its trace.
const PATIENCE: Duration = Duration::from_secs(2);
/// What history said may change without a word, and what it did not know it may hear: ask again after so long.
pub(crate) const LIFETIME: Duration = Duration::from_secs(5);

/// The rows of an answer that is a JSON array; none where history does not answer.
pub(crate) async fn look_up<T: DeserializeOwned>(shared: &Shared, ask: Ask) -> Vec<T> {
    let Some(history) = &shared.capabilities.history else { return Vec::new() };
    let kind = ask.kind();
    let Ok(question) = encode(shared, Dialect::V2, None, ask) else { return Vec::new() };
    let answer = async {
        let pieces = history.ask(question, Patience::Whole(PATIENCE)).await?;
        pieces
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => serde_json::from_slice(&answer).unwrap_or_default(),
        Ok(Err(error)) => {
            tracing::warn!(%error, kind, "history does not tell what a live filter asks for");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
