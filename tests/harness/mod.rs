//! What the black box tests share: the real binary on a data directory of its own, in a network namespace of its own,
//! with real tools beside it. Begin reading at [`cluster::Cluster`].
//!
//! A test asks for what it needs with [`need::story`], which also gives it its network. Nothing here sleeps for a while
//! and hopes: [`wait::until`] waits for a condition with a deadline and says what was last seen.
#![allow(dead_code, unused_imports, reason = "every test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cluster;
pub mod engine;
pub mod kubectl;
pub mod leftovers;
pub mod need;
pub mod network;
pub mod place;
pub mod pods;
pub mod run;
pub mod secured;
pub mod terminal;
pub mod wait;

pub use cluster::{Cluster, IMPATIENT};
pub use need::{Need, story};
pub use place::Place;
pub use wait::until;
