//! Which runtime a cluster uses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::directory::Identity;
use crate::error::ClusterError;

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Containers made by us.
    Native,
    /// No processes at all.
    Simulated,
}

impl RuntimeKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
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
            "native" => Ok(Self::Named(RuntimeKind::Native)),
            "simulated" => Ok(Self::Named(RuntimeKind::Simulated)),
            other => Err(format!("{other:?} is none of auto, native, simulated")),
        }
    }
}

/// Why the native runtime does not work here, if it does not.
pub(crate) fn native_obstacle() -> Option<String> {
    let lacking = |what: &str| Some(format!("native: {what}"));
    if !nix::unistd::geteuid().is_root() {
        return lacking("needs root");
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

/// The runtime to use: the recorded one, else the one asked for, else what works.
pub(crate) fn decide(choice: RuntimeChoice, recorded: Option<&Identity>) -> Result<RuntimeKind, ClusterError> {
    let kind = match (choice, recorded) {
        (RuntimeChoice::Named(asked), Some(recorded)) if asked != recorded.runtime => {
            return Err(ClusterError::OtherRuntime { recorded: recorded.runtime.name(), asked: asked.name() });
        }
        (RuntimeChoice::Named(asked), _) => asked,
        (RuntimeChoice::Auto, Some(recorded)) => recorded.runtime,
        (RuntimeChoice::Auto, None) => RuntimeKind::Native,
    };
    match native_obstacle() {
        Some(reason) if kind == RuntimeKind::Native => Err(ClusterError::NoRuntime { reasons: vec![reason] }),
        _ => Ok(kind),
    }
}
