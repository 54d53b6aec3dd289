//! When a plain user's cluster has namespaces of its own, and when they go.

use std::convert::Infallible;

use coracle_node::rootless::{self, EnterError};

use crate::choice::{RuntimeChoice, RuntimeKind};
use crate::directory::DataDirectory;

/// Whether this process must enter namespaces before it starts a cluster: only a plain user's containers need them.
pub fn needed(directory: &DataDirectory, runtime: RuntimeChoice) -> bool {
    let recorded = directory.identity().map(|identity| identity.runtime);
    let kind = match (runtime, recorded) {
        (RuntimeChoice::Named(asked), _) => asked,
        (RuntimeChoice::Auto, Some(recorded)) => recorded,
        (RuntimeChoice::Auto, None) => RuntimeKind::Native,
    };
    !nix::unistd::geteuid().is_root() && kind == RuntimeKind::Native
}

/// Whether a plain user's cluster has left its namespaces: what is to be deleted may be other users' in them.
pub fn left(directory: &DataDirectory) -> bool {
    !nix::unistd::geteuid().is_root() && (rootless::has_anchor(directory.path()) || directory.run().exists())
}

/// Enters them and begins anew; returns only when that fails. The process must have one thread.
pub fn enter(directory: &DataDirectory) -> Result<Infallible, EnterError> {
    rootless::enter(directory.path())
}

/// After a start that failed: namespaces in which there are no pods go.
pub fn leave_unused(directory: &DataDirectory) {
    let no_pods = || std::fs::read_dir(directory.run()).map_or(true, |mut entries| entries.next().is_none());
    if rootless::is_rootless() && directory.holder().is_none() && no_pods() {
        rootless::end_anchor(directory.path());
    }
}

/// Before the data is deleted: ends what a crash left.
pub(crate) fn dissolve(directory: &DataDirectory) {
    if rootless::is_rootless() {
        rootless::dissolve(directory.path());
    }
}
