//! The scheduler: gives each pending pod a node.
//!
//! ```text
//! informers -> queue (ready | backing off | unschedulable) -> filter -> score -> assume -> bind (32 in flight)
//!                 ^--------- cluster events, failed binds --------'
//! ```
//! One task owns the [`snapshot`] and the [`queue`]; a pod counts on its node from the moment it is assumed there, so the
//! next decision needs neither the bind's answer nor a new look at all pods. Binds run beside it.
//!
//! Begin reading with `cycle` (one decision), then `plugins`. Knows neither the server nor the node agents.
//!
//! Invariants:
//! - a pod is on at most one node of the snapshot; what a bind's failure or a watch event says replaces what was assumed;
//! - a decision costs nodes × plugins, never pods.

mod cycle;
mod explain;
mod message;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod run;
mod snapshot;
mod terms;
mod world;

pub use explain::Decisions;

use std::convert::Infallible;
use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_client::{Clients, Informers, supervise};
use tokio::task::JoinHandle;

/// What the scheduler needs of the process it runs in.
#[derive(Clone)]
pub struct Context {
    /// Makes the scheduler's client.
    pub clients: Clients,
    /// Shared caches.
    pub informers: Informers,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the last decisions can be read.
    pub decisions: Decisions,
}

/// Starts the scheduler under a supervisor. Aborting the handle stops it. Must be called inside a tokio runtime.
pub fn start(context: Context) -> Vec<JoinHandle<()>> {
    let actor = supervise("scheduler", move || {
        let context = context.clone();
        async move {
            run::run(context).await;
            Ok::<(), Infallible>(())
        }
    });
    vec![actor]
}
