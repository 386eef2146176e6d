//! The five programs as their users run them, by their output and exit codes: the executables against a real `reflow-tracing`, against
//! the services as they run in production, and against a stand-in for the published server.

mod cluster;
mod endings;
mod history;
mod load;
mod monitor;
mod pipeline;
mod published;
mod scene;
mod script;
mod simple;
mod tutorial;
