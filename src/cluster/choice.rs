//! Which runtime a cluster uses.

use std::fmt;
use std::str::FromStr;

use coracle_node::rootless;
use coracle_node::runtime::docker::Engine;
use serde::{Deserialize, Serialize};

use crate::directory::Identity;
use crate::error::ClusterError;

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Containers by a Docker engine.
    Docker,
    /// Containers made by us.
    Native,
    /// No processes at all.
    Simulated,
}

impl RuntimeKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Native => "native",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `auto` tries, in this order.
const BY_PREFERENCE: [RuntimeKind; 2] = [RuntimeKind::Docker, RuntimeKind::Native];

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// What the cluster was made with; at its first start what works here.
    Auto,
    /// This one.
    Named(RuntimeKind),
}

impl FromStr for RuntimeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Named(RuntimeKind::Docker)),
            "native" => Ok(Self::Named(RuntimeKind::Native)),
            "simulated" => Ok(Self::Named(RuntimeKind::Simulated)),
            other => Err(format!("{other:?} is none of auto, docker, native, simulated")),
        }
    }
}

/// Why the native runtime does not work here, if it does not.
pub(crate) fn native_obstacle() -> Option<String> {
    let lacking = |what: &str| Some(format!("native: {what}"));
    if !nix::unistd::geteuid().is_root() {
        let obstacle = rootless::obstacle().unwrap_or_else(|| "the program is not in them".to_owned());
        return lacking(&format!("needs root, or namespaces of its own: {obstacle}"));
    }
    if rootless::is_rootless() {
        return None;
    }
    if !std::path::Path::new("/sys/fs/cgroup").exists() {
        return lacking("needs control groups at /sys/fs/cgroup");
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        return lacking("needs the overlay file system");
    }
    None
}

/// The engine, if the docker runtime works here; else why not.
pub(crate) fn docker_engine() -> Result<Engine, String> {
    let engine = Engine::find().map_err(|reason| format!("docker: {reason}"))?;
    if nix::unistd::geteuid().is_root() && !rootless::is_rootless() {
        Ok(engine)
    } else {
        Err(format!("docker: the engine at {} answers, but pods' networks need root", engine.address))
    }
}

/// Why a runtime does not work here, if it does not.
fn obstacle(kind: RuntimeKind) -> Option<String> {
    match kind {
        RuntimeKind::Docker => docker_engine().err(),
        RuntimeKind::Native => native_obstacle(),
        RuntimeKind::Simulated => None,
    }
}

/// The runtime to use: the recorded one, else the one asked for, else what works.
pub(crate) fn decide(choice: RuntimeChoice, recorded: Option<&Identity>) -> Result<RuntimeKind, ClusterError> {
    let kind = match (choice, recorded) {
        (RuntimeChoice::Named(asked), Some(recorded)) if asked != recorded.runtime => {
            return Err(ClusterError::OtherRuntime { recorded: recorded.runtime.name(), asked: asked.name() });
        }
        (RuntimeChoice::Named(asked), _) => asked,
        (RuntimeChoice::Auto, Some(recorded)) => recorded.runtime,
        (RuntimeChoice::Auto, None) => return first_that_works(&BY_PREFERENCE, obstacle),
    };
    first_that_works(&[kind], obstacle)
}

fn first_that_works(kinds: &[RuntimeKind], obstacle: impl Fn(RuntimeKind) -> Option<String>) -> Result<RuntimeKind, ClusterError> {
    let mut reasons = Vec::new();
    for kind in kinds {
        match obstacle(*kind) {
            None => return Ok(*kind),
            Some(reason) => reasons.push(reason),
        }
    }
    Err(ClusterError::NoRuntime { reasons })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_engine_is_preferred_and_every_obstacle_is_told() {
        let only = |works: &'static [RuntimeKind]| move |kind| (!works.contains(&kind)).then(|| format!("{kind}: no"));
        assert_eq!(first_that_works(&BY_PREFERENCE, only(&[RuntimeKind::Docker, RuntimeKind::Native])).unwrap(), RuntimeKind::Docker);
        assert_eq!(first_that_works(&BY_PREFERENCE, only(&[RuntimeKind::Native])).unwrap(), RuntimeKind::Native);
        let error = first_that_works(&BY_PREFERENCE, only(&[RuntimeKind::Simulated])).unwrap_err();
        assert_eq!(error.to_string(), "no container runtime works here: docker: no; native: no");
    }

    #[test]
    fn what_is_recorded_stays() {
        let recorded = |runtime| Identity { id: "1".into(), runtime, pod_cidr: String::new(), service_cidr: String::new() };
        let simulated = recorded(RuntimeKind::Simulated);
        assert_eq!(decide(RuntimeChoice::Auto, Some(&simulated)).unwrap(), RuntimeKind::Simulated);
        let error = decide("docker".parse().unwrap(), Some(&simulated)).unwrap_err();
        assert_eq!(error.to_string(), "this cluster was made with the runtime simulated, not docker");
        assert!("podman".parse::<RuntimeChoice>().is_err());
    }
}
