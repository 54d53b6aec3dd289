//! The node room: the agent that turns Pod objects into running containers, and the runtimes that run them.
//!
//! It plays the kubelet's part: [`Node::start`] registers a Node object, watches for pods bound to it, and gives each a
//! worker that compares the spec with what the runtime has and takes the next step. It knows the API only through
//! `coracle-client`, and of the network only the seam `PodNetwork`; the API server reaches it through the [`Dialer`].
//!
//! Begin reading at `pod/plan.rs` (what to do next, a pure function), then `pod/life.rs` (who does it), `status/mod.rs`
//! (what the API shows of it) and [`runtime::Runtime`] (what it is done with).
//!
//! Invariants:
//! - the runtime is the truth about what runs: the agent keeps nothing that it could not read again after a crash;
//! - one worker per pod, and only the worker writes the pod's status;
//! - a pod that is ending never runs again; a final phase is published only when nothing of it runs;
//! - what the agent makes on the machine is below the node's directory, or is removed with its pod.

mod agent;
mod attach;
pub mod demo;
mod dialer;
pub mod images;
mod logs;
mod pod;
mod probes;
pub mod processor;
pub mod rootless;
pub mod runtime;
pub mod shim;
mod status;
mod usage;
mod volumes;

pub use agent::{Capacity, Node, NodeConfig, Turns};
pub use dialer::Dialer;
pub use volumes::{remove as remove_directory, unmount_all_below};
