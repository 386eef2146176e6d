//! Versions under which a flow ran: least and greatest times.

use reflow_tracing_chunk::{Header, Version};

use super::names::{UNKNOWN_FLOW, key_text};
use crate::FlowVersionRow;

/// Which version of which flow. `Version::timestamp_us` is not part of it: clients stamp each start with the time of day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VersionKey {
    pub tenant: String,
    pub flow_name: String,
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
    pub git_hash: Option<String>,
}

/// When it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionTimes {
    /// Least of those told.
    pub timestamp_us: i64,
    pub first_us: i64,
    pub last_us: i64,
}

impl VersionKey {
    /// The version a chunk tells of, if it tells of one for a known flow.
    pub fn of(header: &Header) -> Option<(Self, VersionTimes)> {
        let version = header.flow_version.as_ref()?;
        let flow_name =
            header.flow_name.as_deref().or(header.flow_id.as_deref()).filter(|name| *name != UNKNOWN_FLOW)?;
        let key = Self {
            tenant: key_text(&header.tenant).into_owned(),
            flow_name: key_text(flow_name).into_owned(),
            major: version.major,
            minor: version.minor,
            patch: version.patch,
            git_hash: version.git_hash.as_deref().map(|hash| key_text(hash).into_owned()),
        };
        let at_us = header.received_us;
        Some((key, VersionTimes { timestamp_us: version.timestamp_us, first_us: at_us, last_us: at_us }))
    }

    pub fn row(self, times: VersionTimes) -> FlowVersionRow {
        let Self { major, minor, patch, git_hash, .. } = self;
        let version = Version { major, minor, patch, git_hash, timestamp_us: times.timestamp_us };
        FlowVersionRow { version, first_us: times.first_us, last_us: times.last_us }
    }
}

impl VersionTimes {
    pub fn merge(&mut self, other: Self) {
        self.timestamp_us = self.timestamp_us.min(other.timestamp_us);
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
    }
}

/// The order of an answer: what appeared last comes first.
pub(crate) fn newest_first(rows: &mut [FlowVersionRow]) {
    rows.sort_by(|a, b| (b.first_us, b.last_us, &b.version).cmp(&(a.first_us, a.last_us, &a.version)));
}
