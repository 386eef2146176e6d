//! One trace: what it is called, how it goes, and its batch while that grows.

use uuid::Uuid;

use crate::client::batch::{Builder, Outgoing};
use crate::codec::Codec;
use crate::wire::BatchHeader;
use crate::{ExecutionStatus, TraceEvent, TraceEventType};

/// Longest names a server takes, bytes.
const MAX_NAME_BYTES: usize = 512;

/// What a trace is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) id: Option<String>,
    /// Where the flow id is not what it should be grouped by.
    pub(crate) name: Option<String>,
}

/// How batches are made at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Making<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) codec: Codec,
    pub(crate) level: i32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) flow: Flow,
    /// Begun by this client, or the one that its first `start_trace` will name: ended on shutdown.
    pub(crate) own: bool,
    /// A `StartTrace` says so.
    pub(crate) started: bool,
    pub(crate) ended: bool,
    /// Its first failure.
    pub(crate) failure: Option<String>,
    /// Events that were in a batch, or dropped before.
    pub(super) counted: u64,
    pub(super) dropped: u64,
    pub(super) builder: Builder,
    /// When it was last looked at, in looks.
    pub(super) used: u64,
    /// Under which of the client's ids it is counted.
    pub(super) generation: u64,
}

impl Trace {
    pub(super) fn push(&mut self, event: &TraceEvent) -> Result<(), serde_json::Error> {
        if event.event_type == TraceEventType::ActorFailed && self.failure.is_none() {
            self.failure = Some(event.data.error.clone().unwrap_or_default());
        }
        self.builder.push(event)
    }

    pub(crate) fn events(&self) -> usize {
        self.builder.events()
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.builder.raw_bytes()
    }

    pub(super) fn seal(&mut self, trace_id: Uuid, making: &Making<'_>, number: u64) -> Outgoing {
        let client_id = match self.generation {
            0 => making.client_id.to_owned(),
            generation => format!("{}.{generation}", making.client_id),
        };
        let header = BatchHeader {
            batch_id: Uuid::now_v7(),
            trace_id,
            flow_id: self.flow.id.clone(),
            flow_name: self.flow.name.clone(),
            client_id,
            sequence: self.counted,
            dropped: self.dropped,
            codec: making.codec,
            raw_size: 0,
        };
        self.counted += self.builder.events() as u64;
        self.builder.seal(header, making.level, number)
    }

    /// How it ended, by its own events.
    pub(super) fn outcome(&self) -> ExecutionStatus {
        match &self.failure {
            Some(error) => ExecutionStatus::Failed { error: error.clone() },
            None => ExecutionStatus::Completed,
        }
    }
}

/// A name as long as a server takes.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}
