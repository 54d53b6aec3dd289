//! `run`: a pod of one container.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::VerbError;
use crate::making::{Making, object};

/// Runs a pod of one container
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Name of the pod
    pub name: String,
    /// Its image
    #[arg(long)]
    pub image: String,
    /// Always, Never or OnFailure
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// The port that the container listens on
    #[arg(long)]
    pub port: Option<u16>,
    /// NAME=VALUE
    #[arg(long)]
    pub env: Vec<String>,
    /// KEY=VALUE
    #[arg(short, long, value_delimiter = ',')]
    pub labels: Vec<String>,
    /// What comes after -- replaces the image's command, not only its arguments
    #[arg(long)]
    pub command: bool,
    /// Pass on what is typed
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// The container has a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Delete the pod when it has ended
    #[arg(long, requires = "stdin")]
    pub rm: bool,
    /// Whether it is made, and how it is printed
    #[command(flatten)]
    pub making: Making,
    /// What the container runs, after --
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

impl Run {
    /// The pod.
    pub fn pod(&self) -> Result<Value, VerbError> {
        let pairs = |texts: &[String], what: &str| -> Result<Vec<(String, String)>, VerbError> {
            let split = |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            texts.iter().map(|text| split(text).ok_or_else(|| VerbError::wrong(format!("invalid {what}: {text}")))).collect()
        };
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        let env: Vec<Value> = pairs(&self.env, "env")?.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        if !env.is_empty() {
            container["env"] = env.into();
        }
        if !self.arguments.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.arguments);
        }
        if self.stdin {
            container["stdin"] = true.into();
            container["stdinOnce"] = true.into();
        }
        if self.tty {
            container["tty"] = true.into();
        }
        let mut labels: Map<String, Value> = pairs(&self.labels, "label")?.into_iter().map(|(key, value)| (key, value.into())).collect();
        if labels.is_empty() {
            labels.insert("run".to_owned(), self.name.clone().into());
        }
        let spec = json!({"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart});
        let mut pod = object("v1", "Pod", &self.name, json!({"spec": spec, "status": {}}));
        pod["metadata"]["labels"] = labels.into();
        Ok(pod)
    }
}
