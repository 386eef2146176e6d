//! The client: records events of a program and asks for those of others. The same on native targets and in browsers.
//!
//! Everything public in the published crate 0.2.1 is here under the same names, with the same fields, signatures and defaults. What is
//! newer stands beside it:
//!
//! | what | published | newer |
//! |---|---|---|
//! | make | [`TracingClient::new`], `with_default_config`, `with_server_url`; [`TracingConfig`], [`RetryConfig`] | [`TracingClient::builder`] → [`ClientBuilder`], [`Settings`] and `REFLOW_TRACING_*` (`TOKEN`, `FLOW_NAME`, `SPOOL`, `SPOOL_BYTES`, `BUFFER_BYTES`, `BUFFER_FULL`, `CODEC`, `CODEC_LEVEL`, `BATCHES_IN_FLIGHT`, `CAPTURE_CONTENT`, `SAMPLING`) |
//! | connect | `connect` (`Ok` after 2 s at the latest, tried on in the background), `is_connected`, `connection_status` | `connect_within(timeout)`, `last_error`, `server_url`, `server_limits`, `client_id`, `config`, `settings` |
//! | record | `start_trace`, `record_event` | `record` (not async), `end_trace(id, status)`, `current_trace_id` |
//! | deliver | `flush`, `shutdown` (both wait for acks, 10 s at most) | `flush_within(timeout)`, `shutdown_within(timeout)`, `shutdown_as(status, timeout)` → [`Undelivered`] |
//! | ask | `ping`, `query_traces`, `get_trace`, `subscribe` | `ping_within` → round trip, `find_traces` → [`TracePage`] of [`TraceSummary`], `get_trace_details` → [`TraceDetails`], `get_flow_versions`, `server_metrics` |
//! | live | | `events(filters)`, `events_since(filters, time)` → [`EventStream`] of [`LiveEvent`] |
//! | figures | | `metrics` → [`ClientMetrics`] |
//! | actors | [`TracingIntegration`], [`init_global_tracing`], [`global_tracing`], [`trace_actor_event!`](crate::trace_actor_event) | |
//!
//! How it works: `record_event` puts an event into `buffer/`; `driver/`, in a thread of its own, makes batches of what gathers there
//! (`batch.rs`), sends them over `transport/`, and lets go of them when the server has acked them. A lost connection, a server that
//! is away, a full disk behind it: the batch stays and is sent again under the same id, and the server stores it once.

mod answers;
mod batch;
mod buffer;
mod builder;
mod causality;
mod config;
mod content;
mod current;
mod driver;
mod error;
mod events;
mod global;
mod handle;
mod integration;
mod mailbox;
mod metrics;
mod parse;
mod questions;
mod report;
mod sampling;
mod settings;
mod shared;
mod spool;
mod transport;
mod undelivered;
mod wake;

pub use builder::ClientBuilder;
pub use causality::{Cause, CauseScope, MAX_CHAIN};
pub use config::{RetryConfig, TracingConfig};
pub use content::{Capture, Content};
pub use error::TracingError;
pub use events::{EventStream, LiveEvent};
pub use global::{global_tracing, init_global_tracing};
pub use handle::TracingClient;
pub use integration::{ActorRun, TracingIntegration};
pub use metrics::ClientMetrics;
pub use parse::{ClientAccount, TraceCounts, TraceDetails, TracePage, TraceSummary};
pub use settings::{Settings, Token, WhenFull};
pub use undelivered::Undelivered;

type Result<T> = std::result::Result<T, TracingError>;
