//! The agent against a real API server in this process, with simulated containers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cluster;
mod scale;
mod stories;
