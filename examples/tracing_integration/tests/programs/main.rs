//! The five programs as their users run them: the executables against a real `reflow-tracing`, by their output and exit codes.

mod endings;
mod history;
mod load;
mod monitor;
mod pipeline;
mod scene;
mod script;
mod simple;
mod tutorial;
