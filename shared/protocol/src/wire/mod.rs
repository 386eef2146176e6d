//! Everything newer than 0.2.1: types that read v1 JSON as well, and protocol v2.
//!
//! [`Event`] is an event as it comes in, borrowed from the frame; [`Request`] is any request of any generation;
//! [`Response`] any answer; [`BatchFrame`] the binary batch of v2.

mod batch;
mod event;
mod quick;
mod report;
mod request;
mod response;
mod sampling;
mod skim;
pub mod timestamp;

pub use batch::{BATCH_MAGIC, BatchFrame, BatchFrameError, BatchHeader};
pub use event::{Causality, Event, EventData, EventType, Message, Metrics, Str};
pub use quick::{EventArray, Unusual};
pub use report::ClientReport;
pub use request::{RecordBatch, Request, RequestError, StartTrace, SubscribeRequest};
pub use response::{Code, Limits, RejectedEvent, Response};
pub use sampling::{EVENT_TYPES, SAMPLE_RATE, SamplingRule, SamplingRuleError, matches_pattern};
pub use skim::MAX_DEPTH;
