//! How sessions end, and what that says of their traces.

use reflow_tracing_chunk::{ChunkBuilder, Origin};
use reflow_tracing_protocol::codec::Codec;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use uuid::Uuid;

use crate::adoption::Adoption;
use crate::capabilities::Shared;
use crate::clock::now_us;
use crate::flow::Flows;
use crate::publish::publish_all;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer closed, or its connection broke.
    Peer,
    /// The peer was silent for longer than `idle_timeout`.
    Idle,
    /// The peer did not take our answers within `write_timeout`.
    Slow,
    /// The peer did not finish a large frame within `write_timeout`.
    SlowFrame,
    /// The peer sent what the session cannot go on after.
    Frame,
    /// The server stops.
    Drain,
}

impl Ending {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::SlowFrame => "slow_frame",
            Self::Frame => "frame",
            Self::Drain => "drain",
        }
    }

    /// What the peer is told; nothing where it said goodbye itself.
    pub(crate) fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Peer => return None,
            Self::Idle => (CloseCode::Policy, "silent for longer than idle_timeout"),
            Self::Slow => (CloseCode::Policy, "answers were not taken within write_timeout"),
            Self::SlowFrame => (CloseCode::Policy, "a frame was not finished within write_timeout"),
            Self::Frame => (CloseCode::Size, "see the error before"),
            Self::Drain => (CloseCode::Away, "the server is stopping; connect again"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// The peer of a v1 session has gone: a mark on each of its traces, for v1 programs never end one.
pub(crate) async fn close_marks(shared: &Shared, adoption: &Adoption, flows: &Flows) {
    let closed_us = now_us();
    let marks = adoption.traces().filter_map(|trace_id| {
        let mut builder =
            ChunkBuilder::new(Uuid::now_v7(), trace_id, &shared.limits.tenant, closed_us, Origin::V1Session);
        if let Some(Some(flow)) = flows.get(trace_id) {
            flow.fill(builder.header_mut());
        }
        builder.header_mut().closed_us = Some(closed_us);
        builder.build(Codec::None, 0).ok()
    });
    for outcome in publish_all(shared, marks.collect()).await {
        if let Err(refusal) = outcome {
            tracing::warn!(reason = refusal.message, "close mark was not taken");
        }
    }
}
