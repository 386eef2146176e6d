//! Makes a client with settings that the published configuration has no field for.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Settings, Token, WhenFull};
use super::{Result, TracingClient, TracingConfig, TracingError, driver};
use crate::codec::Codec;
use crate::wire::SamplingRule;

/// See [`TracingClient::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    config: TracingConfig,
    settings: Settings,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty => $field:ident = $value:expr;)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $kind) -> Self {
            self.settings.$field = $value;
            self
        }
    )+};
}

impl ClientBuilder {
    pub(super) fn new(config: TracingConfig) -> Self {
        Self { config, settings: Settings::from_env() }
    }

    /// All settings at once, instead of those of the environment.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    setters! {
        /// See [`Settings::token`].
        token: impl Into<String> => token = Some(Token::new(token));
        /// See [`Settings::flow_name`].
        flow_name: impl Into<String> => flow_name = Some(flow_name.into());
        /// See [`Settings::spool`].
        spool: impl Into<PathBuf> => spool = Some(spool.into());
        /// See [`Settings::spool_bytes`].
        spool_bytes: u64 => spool_bytes = spool_bytes;
        /// See [`Settings::buffer_bytes`].
        buffer_bytes: usize => buffer_bytes = buffer_bytes;
        /// See [`Settings::when_full`].
        when_full: WhenFull => when_full = when_full;
        /// See [`Settings::capture_content`].
        capture_content: bool => capture_content = capture_content;
        /// See [`Settings::sampling`].
        sampling: impl IntoIterator<Item = SamplingRule> => sampling = sampling.into_iter().collect();
        /// See [`Settings::codec`].
        codec: Codec => codec = codec;
        /// See [`Settings::level`].
        level: i32 => level = level;
        /// See [`Settings::batches_in_flight`].
        batches_in_flight: usize => batches_in_flight = batches_in_flight;
        /// See [`Settings::answer_timeout`].
        answer_timeout: Duration => answer_timeout = answer_timeout;
        /// See [`Settings::silence_timeout`].
        silence_timeout: Duration => silence_timeout = silence_timeout;
        /// See [`Settings::flush_timeout`].
        flush_timeout: Duration => flush_timeout = flush_timeout;
    }

    /// The client.
    ///
    /// # Errors
    /// [`TracingError::ConnectionFailed`] when the url is none or a setting cannot be, saying which.
    pub fn build(self) -> Result<TracingClient> {
        driver::urls(&self.config.server_url)?;
        let problem = |text: &str| Err(TracingError::ConnectionFailed(text.to_owned()));
        if self.settings.batches_in_flight == 0 {
            return problem("batches_in_flight is 0: nothing would ever be sent; give 1 or more");
        }
        if let Some(error) = self.settings.sampling.iter().find_map(|rule| rule.check().err()) {
            return problem(&error.to_string());
        }
        if cfg!(target_arch = "wasm32") && self.settings.codec == Codec::Zstd {
            return problem("zstd is not built in here: use lz4, gzip or brotli");
        }
        if cfg!(target_arch = "wasm32") && self.settings.token.is_some() {
            return problem("a token cannot be sent here: JavaScript's WebSocket takes no headers");
        }
        if cfg!(target_arch = "wasm32") && self.settings.spool.is_some() {
            return problem("there is no spool in browsers, which have no files");
        }
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(path) = &self.settings.spool {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            if let Err(error) = opened {
                return problem(&format!("spool {} cannot be opened: {error}", path.display()));
            }
        }
        Ok(TracingClient::with_settings(self.config, self.settings))
    }
}
