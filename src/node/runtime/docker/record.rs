//! What is kept of sandboxes and containers as labels at the engine, and how its answers read with them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::spec::known_labels;
use crate::runtime::{Container, ContainerConfig, ContainerState, NamespaceMode, Sandbox, SandboxConfig};

/// Label with the id of the cluster.
pub(super) const CLUSTER: &str = "coracle.cluster";
/// Label with the name of the node.
pub(super) const NODE: &str = "coracle.node";
/// Label with a `Record` as JSON.
pub(super) const RECORD: &str = "coracle.record";

/// What a sandbox was made with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) attempt: u32,
    pub(super) hostname: String,
    pub(super) host_network: bool,
    pub(super) pid: NamespaceMode,
    pub(super) ipc: NamespaceMode,
    /// As the engine takes it.
    pub(super) cgroup_parent: String,
    /// Path below the node's control group.
    pub(super) cgroup: String,
    pub(super) log_directory: PathBuf,
}

impl SandboxRecord {
    pub(super) fn new(config: &SandboxConfig, cgroup_parent: String) -> Self {
        Self {
            namespace: config.namespace.clone(),
            name: config.name.clone(),
            uid: config.uid.clone(),
            attempt: config.attempt,
            hostname: config.hostname.clone(),
            host_network: config.host_network,
            pid: config.pid,
            ipc: config.ipc,
            cgroup_parent,
            cgroup: config.cgroup_parent.clone(),
            log_directory: config.log_directory.clone(),
        }
    }
}

/// What a container was made with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) sandbox: String,
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) image: String,
    pub(super) log_path: PathBuf,
    pub(super) labels: BTreeMap<String, String>,
    /// Why it cannot start, where the engine would not even make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Record {
    Sandbox(SandboxRecord),
    Container(ContainerRecord),
}

impl Record {
    /// The labels of what is to be made.
    pub(super) fn labels(&self, cluster: &str, node: &str, namespace: &str, pod: &str) -> HashMap<String, String> {
        let (uid, container) = match self {
            Self::Sandbox(record) => (&record.uid, "POD"),
            Self::Container(record) => (&record.uid, record.name.as_str()),
        };
        let known = known_labels(namespace, pod, uid, container);
        let text = serde_json::to_string(self).unwrap_or_default();
        let own = [(CLUSTER, cluster.to_owned()), (NODE, node.to_owned()), (RECORD, text)];
        known.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What was kept, unless others made it.
    pub(super) fn of(found: &ContainerInspectResponse) -> Option<Self> {
        serde_json::from_str(found.config.as_ref()?.labels.as_ref()?.get(RECORD)?).ok()
    }

    pub(super) fn container(sandbox: &SandboxRecord, sandbox_id: &str, config: &ContainerConfig, refused: Option<String>) -> Self {
        Self::Container(ContainerRecord {
            sandbox: sandbox_id.to_owned(),
            uid: sandbox.uid.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            image: config.image.clone(),
            log_path: sandbox.log_directory.join(&config.log_path),
            labels: config.labels.clone(),
            refused,
        })
    }
}

fn time(text: Option<&String>) -> Option<Timestamp> {
    // The year 1 stands for never.
    text?.parse::<Timestamp>().ok().filter(|time| time.as_second() > 0)
}

/// A sandbox as the engine shows it.
pub(super) fn sandbox(found: &ContainerInspectResponse, record: &SandboxRecord) -> Sandbox {
    Sandbox {
        id: found.id.clone().unwrap_or_default(),
        pod_uid: record.uid.clone(),
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        attempt: record.attempt,
        ready: found.state.as_ref().and_then(|state| state.running).unwrap_or(false),
        created: time(found.created.as_ref()).unwrap_or_default(),
    }
}

/// Whether the engine knows that it ever ran.
pub(super) fn has_begun(found: &ContainerInspectResponse) -> bool {
    time(found.state.as_ref().and_then(|state| state.started_at.as_ref())).is_some()
}

/// The engine's message of a start error in the words of the program that starts containers.
pub(super) fn start_message(message: &str) -> String {
    let inner = ["error during container init: ", "unable to start container process: "].into_iter().find_map(|before| {
        let (_, after) = message.rsplit_once(before)?;
        Some(after)
    });
    let text = inner.unwrap_or(message).trim();
    text.strip_suffix(": unknown").unwrap_or(text).to_owned()
}

/// A container as the engine shows it.
pub(super) fn container(found: &ContainerInspectResponse, record: &ContainerRecord) -> Container {
    let created = time(found.created.as_ref()).unwrap_or_default();
    let state = found.state.clone().unwrap_or_default();
    let code = i32::try_from(state.exit_code.unwrap_or_default()).unwrap_or(-1);
    let error = state.error.clone().unwrap_or_default();
    let started = time(state.started_at.as_ref());
    let process = match state.status {
        Some(Status::CREATED) | None if error.is_empty() => ContainerState::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => {
            ContainerState::Running { started: started.unwrap_or(created) }
        }
        _ if started.is_none() => ContainerState::Exited {
            started: None,
            finished: time(state.finished_at.as_ref()).unwrap_or(created),
            code: 128,
            reason: "StartError".to_owned(),
            message: record.refused.clone().unwrap_or_else(|| start_message(&error)),
        },
        _ => {
            let killed = state.oom_killed == Some(true) && code != 0;
            let reason = if killed {
                "OOMKilled"
            } else if code == 0 {
                "Completed"
            } else {
                "Error"
            };
            let finished = time(state.finished_at.as_ref()).or(started).unwrap_or(created);
            ContainerState::Exited { started, finished, code, reason: reason.to_owned(), message: String::new() }
        }
    };
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0 && matches!(process, ContainerState::Running { .. }));
    Container {
        id: found.id.clone().unwrap_or_default(),
        sandbox_id: record.sandbox.clone(),
        pod_uid: record.uid.clone(),
        name: record.name.clone(),
        attempt: record.attempt,
        image: record.image.clone(),
        image_id: found.image.clone().unwrap_or_default(),
        created,
        state: process,
        pid,
        labels: record.labels.clone(),
        log_path: record.log_path.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_lose_what_the_engine_puts_around_them() {
        let cases = [
            (
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to \
                 start container process: error during container init: exec: \"nope\": executable file not found in $PATH: unknown",
                "exec: \"nope\": executable file not found in $PATH",
            ),
            (
                "OCI runtime create failed: runc create failed: unable to start container process: exec: \"/x\": permission denied: unknown",
                "exec: \"/x\": permission denied",
            ),
            ("something else", "something else"),
        ];
        for (message, expected) in cases {
            assert_eq!(start_message(message), expected);
        }
    }

    #[test]
    fn states_as_the_api_shows_them() {
        let never = "0001-01-01T00:00:00Z";
        let (begun, ended) = ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:06Z");
        let cases = [
            (json!({"Status": "created", "StartedAt": never, "FinishedAt": never, "ExitCode": 0, "Error": ""}), "Created"),
            (json!({"Status": "running", "Running": true, "Pid": 7, "StartedAt": begun, "FinishedAt": never}), "Running"),
            (json!({"Status": "exited", "ExitCode": 0, "StartedAt": begun, "FinishedAt": ended}), "0 Completed"),
            (json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true, "StartedAt": begun, "FinishedAt": ended}), "137 OOMKilled"),
            (json!({"Status": "exited", "ExitCode": 0, "OOMKilled": true, "StartedAt": begun, "FinishedAt": ended}), "0 Completed"),
            (json!({"Status": "created", "ExitCode": 127, "Error": "no", "StartedAt": never, "FinishedAt": never}), "128 StartError"),
        ];
        for (state, expected) in cases {
            let found = serde_json::from_value(json!({"Id": "a", "Created": begun, "State": state})).unwrap();
            let made = container(&found, &ContainerRecord::default());
            let shown = match &made.state {
                ContainerState::Created => "Created".to_owned(),
                ContainerState::Running { .. } => "Running".to_owned(),
                ContainerState::Exited { code, reason, .. } => format!("{code} {reason}"),
            };
            assert_eq!((shown.as_str(), made.pid.is_some()), (expected, expected == "Running"));
        }
    }
}
