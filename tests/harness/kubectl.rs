//! Real `kubectl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use super::run::{Ran, Running, run};
use super::wait::until;

/// The newest `kubectl` of this machine: the one on the path, or a `kubectl.1.N` beside it.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            if let Some(named) = std::env::var_os("CORACLE_KUBECTL") {
                return Some(named.into());
            }
            let paths = std::env::var_os("PATH")?;
            let found = std::env::split_paths(&paths).map(|directory| directory.join("kubectl")).find(|path| path.is_file())?;
            let found = found.canonicalize().ok()?;
            let minor = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("kubectl.1.")?.parse::<u32>().ok();
            let beside = std::fs::read_dir(found.parent()?).ok()?.flatten().map(|entry| entry.path());
            let newest = beside.filter_map(|path| Some((minor(&path)?, path))).max();
            Some(newest.map_or(found, |(_, path)| path))
        })
        .as_deref()
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
