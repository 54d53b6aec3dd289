//! Real `kubectl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use super::run::{Ran, Running, run};
use super::wait::until;

/// The `kubectl` programs of this machine, oldest first: the one on the path and every `kubectl.1.N` beside it.
pub fn programs() -> &'static [PathBuf] {
    static PROGRAMS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(named) = std::env::var_os("CORACLE_KUBECTL") {
            return vec![named.into()];
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&paths).map(|directory| directory.join("kubectl")).find(|path| path.is_file());
        let Some(found) = found.and_then(|path| path.canonicalize().ok()) else { return Vec::new() };
        let minor = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("kubectl.1.")?.parse::<u32>().ok();
        let entries = found.parent().and_then(|directory| std::fs::read_dir(directory).ok()).into_iter().flatten().flatten();
        let mut beside: Vec<(u32, PathBuf)> = entries.filter_map(|entry| Some((minor(&entry.path())?, entry.path()))).collect();
        beside.sort();
        if beside.is_empty() { vec![found] } else { beside.into_iter().map(|(_, path)| path).collect() }
    })
}

/// The newest of them.
pub fn program() -> Option<&'static Path> {
    programs().last().map(PathBuf::as_path)
}

impl Cluster {
    /// A `kubectl` on this cluster.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&program().unwrap().to_string_lossy());
        command.args(arguments);
        command
    }

    /// Runs `kubectl` to its end.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_with(arguments, b"")
    }

    /// Runs `kubectl` with this standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run(&mut self.kubectl_command(arguments), input, Duration::from_secs(120))
    }

    /// Starts a `kubectl` that goes on until it is dropped.
    pub fn kubectl_running(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.kubectl_command(arguments), Stdio::null())
    }

    /// Objects as JSON; `arguments` as after `kubectl get`.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The items of a list.
    pub fn items(&self, arguments: &[&str]) -> Vec<Value> {
        self.get(arguments)["items"].as_array().cloned().unwrap_or_default()
    }

    /// Names of the ready pods that a selector chooses, when there are exactly so many and none beside them.
    pub fn ready_pods(&self, selector: &str, count: usize) -> Vec<String> {
        until(&format!("{count} ready pods with {selector}"), Duration::from_secs(90), || {
            let pods = self.items(&["pods", "-l", selector]);
            let staying: Vec<&Value> = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
            if staying.len() == count && staying.iter().all(|pod| is_ready(pod)) {
                return Ok(staying.iter().map(|pod| name(pod)).collect());
            }
            Err(format!("{}\n{}", self.kubectl(&["get", "pods", "-o", "wide"]).said(), self.kubectl(&["get", "events"]).said()))
        })
    }
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Whether a pod's condition Ready is true.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
