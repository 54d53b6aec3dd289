//! The whole UI over an API server made of a map: keys in, frames out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod actions;
mod anything;
mod behaviour;
mod edit;
mod fake;
mod faults;
mod manifests;
mod many;
mod pictures;
mod real;
mod screens;
mod typed;
