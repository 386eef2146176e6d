//! Identifiers, as published.

use derive_more::Display;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one trace: one execution of a flow.
#[derive(Debug, Display, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub struct TraceId(pub Uuid);

/// What a program calls itself.
#[derive(Debug, Display, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub struct FlowId(pub String);

/// Identifies one execution, where the program distinguishes it from the trace.
#[derive(Debug, Display, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub struct ExecutionId(pub Uuid);

/// Identifies one event.
#[derive(Debug, Display, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub struct EventId(pub Uuid);

macro_rules! uuid_newtype {
    ($($name:ident),+) => {$(
        impl $name {
            /// A new random id (UUID v4).
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// Wraps an id.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id within.
            pub fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    )+};
}

uuid_newtype!(TraceId, ExecutionId, EventId);

impl FlowId {
    /// Wraps a name.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The name within.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
