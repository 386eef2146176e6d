//! The images, built and started without an engine: each step of the real Dockerfile is done, on the files that
//! `.dockerignore` lets through, and each image's own start command runs in what was built, with its root read-only.

mod build;
mod container;
mod context;
mod dockerfile;
mod layers;
mod promises;
mod running;

pub use self::build::{dockerfile, repository};
