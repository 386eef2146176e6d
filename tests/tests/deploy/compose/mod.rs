//! The compose files: valid, as safe as they say, and their services work together.

mod file;
mod processes;
mod promises;
