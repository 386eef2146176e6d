//! Everything that the published [`TracingConfig`](super::TracingConfig) has no field for.
//!
//! Each setting has a default; an environment variable changes it for programs that nobody wants to touch (every program built on
//! `reflow_network`), a [`ClientBuilder`](super::ClientBuilder) for those that one does. What is wrong in the environment is told in
//! the log and left out: tracing is never in the program's way. What is wrong in a builder is an error.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::codec::Codec;
use crate::wire::SamplingRule;

/// A token that shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, for the handshake.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What happens to events when the buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest that are not on their way yet are dropped, a batch at a time where they are batches already.
    #[default]
    DropOldest,
    /// The new event is dropped.
    DropNewest,
    /// `record_event` waits for room. [`TracingClient::record`](super::TracingClient::record), which cannot wait, drops the new event.
    Wait,
}

/// Settings beside the published configuration. [`Settings::default`] is what the documentation of each field says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Sent as `Authorization: Bearer …` in the handshake. `REFLOW_TRACING_TOKEN`. Default: none. Not in browsers, which send no
    /// headers.
    pub token: Option<Token>,
    /// Name that traces are grouped by. `REFLOW_TRACING_FLOW_NAME`. Default: none; then the server takes the flow id without its
    /// generated tail, and for the `network_session_…` of `reflow_network` the program's file name is sent.
    pub flow_name: Option<String>,
    /// File that holds what is not acked yet, so that a crash of the program loses nothing. `REFLOW_TRACING_SPOOL`. Default:
    /// none. Not in browsers.
    pub spool: Option<PathBuf>,
    /// How large the spool may grow, bytes. `REFLOW_TRACING_SPOOL_BYTES`. Default: 1 GiB.
    pub spool_bytes: u64,
    /// How much memory waiting events may take, bytes. `REFLOW_TRACING_BUFFER_BYTES`. Default: 64 MiB. Starts and ends of traces may take
    /// half of it; beyond, the oldest are given up, starts first, and told by the next flush.
    pub buffer_bytes: usize,
    /// What happens when that is used up. `REFLOW_TRACING_BUFFER_FULL` = `drop_oldest | drop_newest | wait`. Default: drop the
    /// oldest.
    pub when_full: WhenFull,
    /// Whether the content of messages is sent, where calls pass it, and not only its checksum and size.
    /// `REFLOW_TRACING_CAPTURE_CONTENT` = `true | false`. Default: false.
    pub capture_content: bool,
    /// What is left out of what is recorded; comes before what the server asks for. `REFLOW_TRACING_SAMPLING`, such as
    /// `flow:orders type:MessageSent = 0.1; actor:worker_* = 0.5`: see [`SamplingRule`]. Default: nothing.
    pub sampling: Vec<SamplingRule>,
    /// How batches are compressed, if `enable_compression`. `REFLOW_TRACING_CODEC` = `zstd | lz4 | gzip | brotli | none`. Default: zstd;
    /// in browsers, where zstd's C is not built in, lz4.
    pub codec: Codec,
    /// On the codec's own scale. `REFLOW_TRACING_CODEC_LEVEL`. Default: 1.
    pub level: i32,
    /// Most batches on their way without an ack. `REFLOW_TRACING_BATCHES_IN_FLIGHT`. Default: 8. The server's own limit, if
    /// lower, counts.
    pub batches_in_flight: usize,
    /// How long answers are waited for. Default: 30 s.
    pub answer_timeout: Duration,
    /// How long a server may give no sign of life, be it a ping, before the client connects again. Default: 60 s. In browsers, where
    /// programs see no pings, only frames are signs.
    pub silence_timeout: Duration,
    /// How long `flush()` and `shutdown()` wait, which take no time limit. Default: 10 s.
    pub flush_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: None,
            flow_name: None,
            spool: None,
            spool_bytes: 1 << 30,
            buffer_bytes: 64 << 20,
            when_full: WhenFull::default(),
            capture_content: false,
            sampling: Vec::new(),
            codec: if cfg!(target_arch = "wasm32") { Codec::Lz4 } else { Codec::Zstd },
            level: 1,
            batches_in_flight: 8,
            answer_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(60),
            flush_timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The defaults with what the environment changes. What is wrong there is told in the log and left out.
    pub fn from_env() -> Self {
        let (settings, problems) = Self::read(&|name| std::env::var(name).ok());
        for problem in problems {
            tracing::warn!("{problem}");
        }
        settings
    }

    /// Reads variables through `get`; gives what could be read, and what could not.
    pub(crate) fn read(get: &dyn Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        // Empty is unset: that is what `${VARIABLE:-}` in a compose file gives.
        let value = |name: &str| get(name).filter(|value| !value.is_empty());
        let mut parsed = |name: &str, wanted: &str, accept: &mut dyn FnMut(&str) -> Option<()>| {
            if let Some(text) = value(name)
                && accept(&text).is_none()
            {
                problems.push(format!("{name} is `{text}` and must be {wanted}; it is left out"));
            }
        };
        let mut settings = Self::default();
        parsed("REFLOW_TRACING_SPOOL_BYTES", "a number of bytes", &mut |text| {
            text.parse().ok().map(|bytes| settings.spool_bytes = bytes)
        });
        parsed("REFLOW_TRACING_BUFFER_BYTES", "a number of bytes", &mut |text| {
            text.parse().ok().map(|bytes| settings.buffer_bytes = bytes)
        });
        parsed("REFLOW_TRACING_BUFFER_FULL", "drop_oldest, drop_newest or wait", &mut |text| {
            when_full(text).map(|policy| settings.when_full = policy)
        });
        parsed("REFLOW_TRACING_CAPTURE_CONTENT", "true or false", &mut |text| {
            text.parse().ok().map(|capture| settings.capture_content = capture)
        });
        parsed(
            "REFLOW_TRACING_SAMPLING",
            "rules such as `flow:orders type:MessageSent = 0.1; actor:a = 0`",
            &mut |text| SamplingRule::parse_all(text).ok().map(|rules| settings.sampling = rules),
        );
        parsed("REFLOW_TRACING_CODEC", "zstd, lz4, gzip, brotli or none", &mut |text| {
            codec(text).map(|codec| settings.codec = codec)
        });
        parsed("REFLOW_TRACING_CODEC_LEVEL", "a whole number", &mut |text| {
            text.parse().ok().map(|level| settings.level = level)
        });
        parsed("REFLOW_TRACING_BATCHES_IN_FLIGHT", "a whole number from 1", &mut |text| {
            let number = text.parse().ok().filter(|number| *number > 0);
            number.map(|number| settings.batches_in_flight = number)
        });
        settings.token = value("REFLOW_TRACING_TOKEN").map(Token);
        settings.flow_name = value("REFLOW_TRACING_FLOW_NAME");
        settings.spool = value("REFLOW_TRACING_SPOOL").map(PathBuf::from);
        (settings, problems)
    }
}

fn when_full(text: &str) -> Option<WhenFull> {
    Some(match text {
        "drop_oldest" => WhenFull::DropOldest,
        "drop_newest" => WhenFull::DropNewest,
        "wait" => WhenFull::Wait,
        _ => return None,
    })
}

/// The codecs this build has.
fn codec(text: &str) -> Option<Codec> {
    Some(match text {
        "zstd" if cfg!(not(target_arch = "wasm32")) => Codec::Zstd,
        "lz4" => Codec::Lz4,
        "gzip" => Codec::Gzip,
        "brotli" => Codec::Brotli,
        "none" => Codec::None,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_read() {
        let (settings, problems) = Settings::read(&|name| {
            let value = match name {
                "REFLOW_TRACING_TOKEN" => "secret",
                "REFLOW_TRACING_FLOW_NAME" => "orders",
                "REFLOW_TRACING_SPOOL" => "spool.bin",
                "REFLOW_TRACING_SPOOL_BYTES" => "1000",
                "REFLOW_TRACING_BUFFER_BYTES" => "2000",
                "REFLOW_TRACING_BUFFER_FULL" => "wait",
                "REFLOW_TRACING_CAPTURE_CONTENT" => "true",
                "REFLOW_TRACING_SAMPLING" => "actor:a = 0.5",
                "REFLOW_TRACING_CODEC" => "brotli",
                "REFLOW_TRACING_CODEC_LEVEL" => "3",
                "REFLOW_TRACING_BATCHES_IN_FLIGHT" => "2",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(settings.token.as_ref().map(Token::expose), Some("secret"));
        assert_eq!(settings.flow_name.as_deref(), Some("orders"));
        assert_eq!(settings.spool, Some(PathBuf::from("spool.bin")));
        assert_eq!((settings.spool_bytes, settings.buffer_bytes), (1_000, 2_000));
        assert_eq!((settings.when_full, settings.capture_content), (WhenFull::Wait, true));
        assert_eq!((settings.codec, settings.level, settings.batches_in_flight), (Codec::Brotli, 3, 2));
        assert_eq!(settings.sampling.iter().map(ToString::to_string).collect::<Vec<_>>(), ["actor:a = 0.5"]);
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_is_wrong_is_told_and_left_out() {
        let (settings, problems) =
            Settings::read(&|name| (name.contains("BUFFER") || name.contains("FLIGHT")).then(|| "-1".to_owned()));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[1].contains("REFLOW_TRACING_BUFFER_FULL") && problems[1].contains("drop_newest"));
        assert_eq!(settings.buffer_bytes, Settings::default().buffer_bytes);
    }
}
