//! Everything newer than 0.2.1: types that read v1 JSON as well, and protocol v2.
//!
//! [`Event`] is an event as it comes in, borrowed from the frame; [`Request`] is any request of any generation;
//! [`Response`] any answer; [`BatchFrame`] the binary batch of v2.

mod batch;
mod brief;
mod elements;
mod event;
mod quick;
mod report;
mod request;
mod request_error;
mod response;
mod sampling;
mod skim;
pub mod timestamp;

pub use batch::{BATCH_MAGIC, BatchFrame, BatchFrameError, BatchHeader};
pub use brief::{MAX_BRIEF_BYTES, brief};
pub use elements::for_each_element;
pub use event::{Causality, Event, EventData, EventType, Message, Metrics, Str};
pub use quick::{EventArray, Unusual};
pub use report::ClientReport;
pub use request::{RecordBatch, Request, StartTrace, SubscribeRequest};
pub use request_error::{MAX_METADATA_BYTES, MAX_SUBSCRIBE_BYTES, RequestError};
pub use response::{Code, Limits, RejectedEvent, Response};
pub use sampling::{EVENT_TYPES, SAMPLE_RATE, SamplingRule, SamplingRuleError, matches_pattern};
pub use skim::MAX_DEPTH;
