//! What an operator touches: health checks, images, compose files, the load balancer.
//!
//! No container engine runs where these tests run. So they do what an engine would do, with the real files, in folders and
//! mount namespaces of their own: run each step of the Dockerfile, start programs with exactly the environment and
//! arguments of the compose file, put the real HAProxy with the real configuration in front. Mounting needs root.

mod compose;
mod entrypoint;
mod haproxy;
mod health;
mod image;
mod mounts;
