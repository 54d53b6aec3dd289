//! The wiring room: the only one that constructs the others.
//!
//! [`Cluster::start`] is an ordered list of named, timed steps; [`Cluster::stop`] is the same list backwards. Begin reading
//! there. Nothing here decides anything about Kubernetes: it makes rooms, hands them to each other, and takes them down.
//!
//! Invariants: one process per data directory (its lock says who); nothing outside the data and run directories but the
//! host's link and routes; a stop leaves nothing of a cluster but its data; a crash leaves the pods, and the next start
//! finds them.

mod choice;
mod claim;
mod cluster;
mod control;
mod directory;
mod doctor;
mod error;
mod health;
mod leftovers;
mod listen;
mod nodes;
mod pages;
mod restart;
pub mod rootless;
mod snapshot;
mod steps;
mod store_check;

pub use choice::{RuntimeChoice, RuntimeKind};
pub use cluster::{Cluster, ClusterConfig, Lifecycle};
pub use control::{CONTROL_PATH, Request as ControlRequest};
pub use coracle_controllers::{Autoscaling, NodeLifecycle};
pub use coracle_network::{Cidr, Ranges};
pub use coracle_server::admission::TolerationSeconds;
pub use directory::{DataDirectory, Holder};
pub use doctor::{Finding, doctor};
pub use error::ClusterError;
pub use leftovers::remove_leftovers;
pub use snapshot::{SnapshotError, make_of_snapshot, restore};
pub use steps::{Step, StepState, Steps};
pub use store_check::doctor_store;
