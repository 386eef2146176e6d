//! What tests need that run in a browser or in Node, where no server can be started and no file be read.
//!
//! - [`control`]: real servers, started, killed and asked on request over HTTP.
//! - [`chromium`]: how a headless Chromium is started for tests.

pub mod chromium;
pub mod control;
