//! What a commit writes, merged in memory before anything is written: the rules that all backends share.
//!
//! [`Batch`] takes the chunks of a call that were new and gives each table's rows once, in key order. Nothing in here touches a
//! database, and nothing in a backend decides how two rows become one (the SQL upserts are the same rules in SQL).

mod actors;
mod batch;
mod clients;
pub(crate) mod compaction;
pub(crate) mod marks;
mod names;
pub(crate) mod retention;
mod rollup;
mod trace;
mod versions;

pub(crate) use actors::ActorSums;
pub(crate) use batch::{Batch, Hour, TraceDelta, TraceKey, stored_header, unique_ids};
pub(crate) use clients::within_limit;
pub(crate) use names::{OTHER, actor_key, key_text};
pub(crate) use rollup::{Rollup, RollupKey, minute_of, minute_start_us};
pub(crate) use trace::{FlowMark, TraceRow};
pub(crate) use versions::{VersionKey, VersionTimes, newest_first};
