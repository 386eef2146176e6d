//! Arguments in words: event types, statuses, server urls, time ranges.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use reflow_tracing_protocol::{ExecutionStatus, TraceEventType};

/// Where a server listens that nobody configured otherwise.
pub const DEFAULT_SERVER: &str = "ws://127.0.0.1:8080";

/// An event type on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum EventName {
    /// An actor was created
    Created,
    /// An actor was started
    Started,
    /// An actor handled a message
    Completed,
    /// An actor failed on a message
    Failed,
    /// A message left an actor
    MessageSent,
    /// A message reached an actor
    MessageReceived,
    /// An actor's state changed
    StateChanged,
    /// A port was connected
    PortConnected,
    /// A port was disconnected
    PortDisconnected,
    /// A message passed along a connection
    DataFlow,
    /// Something happened to the network
    NetworkEvent,
}

impl EventName {
    /// Whether an event is of this type.
    pub fn is(self, event_type: &TraceEventType) -> bool {
        std::mem::discriminant(&self.wanted()) == std::mem::discriminant(event_type)
    }

    /// The protocol's name. `*` is how servers spell "any" in a filter for `DataFlow`.
    pub fn wanted(self) -> TraceEventType {
        match self {
            Self::Created => TraceEventType::ActorCreated,
            Self::Started => TraceEventType::ActorStarted,
            Self::Completed => TraceEventType::ActorCompleted,
            Self::Failed => TraceEventType::ActorFailed,
            Self::MessageSent => TraceEventType::MessageSent,
            Self::MessageReceived => TraceEventType::MessageReceived,
            Self::StateChanged => TraceEventType::StateChanged,
            Self::PortConnected => TraceEventType::PortConnected,
            Self::PortDisconnected => TraceEventType::PortDisconnected,
            Self::DataFlow => TraceEventType::DataFlow { to_actor: "*".to_owned(), to_port: "*".to_owned() },
            Self::NetworkEvent => TraceEventType::NetworkEvent,
        }
    }
}

/// A trace's status on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusName {
    /// Not begun
    Pending,
    /// Not ended
    Running,
    /// Ended well
    Completed,
    /// Ended badly, whatever the error
    Failed,
    /// Stopped before its end
    Cancelled,
}

impl StatusName {
    /// Whether a trace has this status, whatever the error.
    pub fn is(self, status: &ExecutionStatus) -> bool {
        std::mem::discriminant(&self.wanted()) == std::mem::discriminant(status)
    }

    /// The protocol's status. A failure without an error matches every failure.
    pub fn wanted(self) -> ExecutionStatus {
        match self {
            Self::Pending => ExecutionStatus::Pending,
            Self::Running => ExecutionStatus::Running,
            Self::Completed => ExecutionStatus::Completed,
            Self::Failed => ExecutionStatus::Failed { error: String::new() },
            Self::Cancelled => ExecutionStatus::Cancelled,
        }
    }
}

/// Reads `ws://host:port`, or several with commas between.
pub fn server_url(text: &str) -> Result<String, String> {
    for url in text.split(',').map(str::trim) {
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("wss://"));
        let Some(rest) = rest else {
            return Err(format!("`{url}` must begin with ws:// or wss://, as in {DEFAULT_SERVER}"));
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host_and_port = authority.rsplit('@').next().unwrap_or_default();
        // An IPv6 address is in brackets and full of colons.
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host_and_port, None),
        };
        if host.is_empty() {
            return Err(format!("`{url}` names no host; write it as in {DEFAULT_SERVER}"));
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(format!("`{url}` has a port that is no number from 0 to 65535"));
        }
    }
    Ok(text.to_owned())
}

/// Reads `500ms`, `10s`, `1h 30min`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as in 500ms, 10s or 1h30m"))
}

/// Reads a duration, or a bare number of milliseconds.
pub fn delay(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).or_else(|_| duration(text))
}

/// Reads a duration, or a bare number of seconds; not zero.
pub fn time_limit(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::from_secs).or_else(|_| duration(text))? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        limit => Ok(limit),
    }
}

/// Reads a share from 0 to 1, or as `10%`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().map_err(|error| error.to_string())? / unit;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err("must lie between 0 and 1, or 0% and 100%".to_owned()),
    }
}

/// Reads a flow's name.
pub fn flow_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a flow's name cannot be empty".to_owned()),
        name if name.contains(char::is_control) => Err("a flow's name cannot hold control characters".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeRange {
    /// From so long ago until now.
    Last(Duration),
    /// Between two times.
    Between(DateTime<Utc>, DateTime<Utc>),
}

impl TimeRange {
    /// Its two ends, told what time it is.
    pub fn ends(self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        match self {
            Self::Last(span) => {
                let start = chrono::TimeDelta::from_std(span).ok().and_then(|span| now.checked_sub_signed(span));
                (start.unwrap_or_default().max(DateTime::UNIX_EPOCH), now)
            }
            Self::Between(start, end) => (start, end),
        }
    }
}

/// Reads `1h`, or `2026-01-31T10:00:00Z..2026-01-31T11:00:00Z`.
pub fn time_range(text: &str) -> Result<TimeRange, String> {
    let Some((start, end)) = text.split_once("..") else {
        return match duration(text)? {
            Duration::ZERO => Err("a range of no length holds nothing".to_owned()),
            span => Ok(TimeRange::Last(span)),
        };
    };
    let read = |end: &str| {
        let time = humantime::parse_rfc3339_weak(end.trim());
        time.map(DateTime::<Utc>::from).map_err(|error| format!("`{end}`: {error}; write 2026-01-31T10:00:00Z"))
    };
    let (start, end) = (read(start)?, read(end)?);
    match start < end {
        true => Ok(TimeRange::Between(start, end)),
        false => Err(format!("{start} is not before {end}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_what_is_wrong_with_them() {
        for good in ["ws://127.0.0.1:8080", "wss://tracing.example/", "ws://a:1,ws://[::1]:2/path"] {
            assert!(server_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("localhost:8080", "must begin with ws://"),
            ("http://a", "must begin with ws://"),
            ("ws://:80", "no host"),
            ("ws://a:99999", "port"),
            ("ws://a,b", "must begin with ws://"),
        ] {
            assert!(server_url(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn time_ranges_are_spans_or_two_times() {
        let now: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        let hour_ago: DateTime<Utc> = "2026-01-31T11:00:00Z".parse().unwrap();
        assert_eq!(time_range("1h").unwrap().ends(now), (hour_ago, now));
        assert_eq!(time_range("2026-01-31T11:00:00Z..2026-01-31 12:00:00").unwrap().ends(now), (hour_ago, now));
        assert_eq!(time_range("100000y").unwrap().ends(now).0, DateTime::UNIX_EPOCH);
        for bad in ["", "1", "0s", "1h..", "2026-01-31T12:00:00Z..2026-01-31T11:00:00Z"] {
            assert!(time_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bare_numbers_have_the_unit_of_their_flag() {
        assert_eq!(delay("5").unwrap(), Duration::from_millis(5));
        assert_eq!(time_limit("5").unwrap(), Duration::from_secs(5));
        assert_eq!(
            (delay("1s").unwrap(), time_limit("500ms").unwrap()),
            (Duration::from_secs(1), Duration::from_millis(500))
        );
        assert!(time_limit("0").is_err() && delay("-1").is_err());
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        assert_eq!((share("0.25").unwrap(), share("25 %").unwrap(), share("0").unwrap()), (0.25, 0.25, 0.0));
        for bad in ["", "x", "1.1", "-0.1", "101%", "NaN"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn event_names_are_those_of_the_manual() {
        let names: Vec<String> = EventName::value_variants()
            .iter()
            .map(|name| name.to_possible_value().unwrap().get_name().to_owned())
            .collect();
        assert_eq!(
            names.join(","),
            "created,started,completed,failed,message_sent,message_received,state_changed,port_connected,\
             port_disconnected,data_flow,network_event"
        );
    }
}
