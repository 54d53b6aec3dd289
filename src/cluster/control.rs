//! Control of a running cluster by another process, through its API server below `/coracle/v1/`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::seams::{Control, ControlCall};
use coracle_api::status::Status;
use coracle_node::runtime::{Runtime, RuntimeError};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::nodes::Nodes;
use crate::{health, snapshot};

/// Where the control paths begin.
pub const CONTROL_PATH: &str = "/coracle/v1";

/// What another process asks of the one that has the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Stop, as `coracle down` does.
    Down,
}

/// Answers control calls.
pub(crate) struct Controls {
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) store: coracle_store::Store,
    /// How current the informers are; none until there is a server to read from.
    pub(crate) outlook: Mutex<Option<health::Outlook>>,
    /// The nodes; none until they are started.
    pub(crate) nodes: Mutex<Option<Arc<Nodes>>>,
    /// What the scheduler decided last.
    pub(crate) decisions: coracle_scheduler::Decisions,
    /// What `status` tells that does not change.
    pub(crate) facts: Mutex<Value>,
}

#[async_trait]
impl Control for Controls {
    async fn control(&self, call: ControlCall) -> Result<Value, Status> {
        let path = call.path.strip_prefix(CONTROL_PATH).unwrap_or_default().to_owned();
        match (call.method.as_str(), path.as_str()) {
            ("GET", "/status") => Ok(self.status()),
            ("POST", "/down") => {
                let _ = self.requests.send(Request::Down);
                Ok(json!({"stopping": true}))
            }
            ("POST", "/nodes/stop") => {
                self.nodes()?.stop(&call.query("name").unwrap_or_default()).await?;
                Ok(json!({"stopped": true}))
            }
            ("POST", "/nodes/start") => {
                self.nodes()?.start(&call.query("name").unwrap_or_default()).await?;
                Ok(json!({"started": true}))
            }
            ("POST", "/snapshot") => self.snapshot(call).await,
            ("GET", "/why") => self.why(&call),
            ("GET", "/images") => self.images().await,
            ("POST", "/images") => self.load(call).await,
            ("POST", "/images/build") => self.build(call).await,
            ("DELETE", "/images") => self.remove(&call.query("name").unwrap_or_default()).await,
            _ => Err(Status::no_such_path()),
        }
    }

    fn metrics(&self) -> String {
        self.health().map(|health| health.page()).unwrap_or_default()
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    message
}

fn refused(error: RuntimeError) -> Status {
    let message = chain(&error);
    match error {
        RuntimeError::NotFound { .. } => Status::new(404, "NotFound", message),
        RuntimeError::Image { .. } => Status::bad_request(message),
        _ => Status::new(500, "InternalError", message),
    }
}

impl Controls {
    fn runtimes(&self) -> Vec<Arc<dyn Runtime>> {
        self.nodes.lock().as_ref().map(|nodes| nodes.runtimes()).unwrap_or_default()
    }

    fn nodes(&self) -> Result<Arc<Nodes>, Status> {
        self.nodes.lock().clone().ok_or_else(|| Status::new(503, "ServiceUnavailable", "the nodes are not started yet"))
    }

    fn status(&self) -> Value {
        let mut status = self.facts.lock().clone();
        status["residentBytes"] = json!(resident_bytes());
        if let Some(health) = self.health() {
            (status["actors"], status["watches"]) = health.value();
        }
        status
    }

    fn health(&self) -> Option<health::Health> {
        Some(health::look(&self.store, self.outlook.lock().as_ref()?()))
    }

    /// Which node a pod got, or why none: every filter's verdict and every score of the scheduler's last decision.
    fn why(&self, call: &ControlCall) -> Result<Value, Status> {
        let (namespace, pod) = (call.query("namespace").unwrap_or_default(), call.query("pod").unwrap_or_default());
        let none = || Status::new(404, "NotFound", format!("no decision about pod {namespace}/{pod} is remembered"));
        self.decisions.of(&namespace, &pod).ok_or_else(none)
    }

    async fn images(&self) -> Result<Value, Status> {
        let mut out = Vec::new();
        if let Some(runtime) = self.runtimes().first() {
            for image in runtime.images().await.map_err(refused)? {
                out.push(json!({"id": image.id, "tags": image.tags, "digests": image.digests, "size": image.size}));
            }
        }
        Ok(json!({"images": out}))
    }

    /// Loads the archive at a path of this machine.
    async fn load(&self, call: ControlCall) -> Result<Value, Status> {
        let request = json_body(call).await?;
        let file = PathBuf::from(request["file"].as_str().unwrap_or_default());
        let mut names = Vec::new();
        for runtime in self.runtimes() {
            names = runtime.load_images(&file).await.map_err(refused)?;
        }
        Ok(json!({"loaded": names}))
    }

    /// Writes the cluster's state to a path of this machine.
    async fn snapshot(&self, call: ControlCall) -> Result<Value, Status> {
        let file = PathBuf::from(json_body(call).await?["file"].as_str().unwrap_or_default());
        let (store, facts) = (self.store.clone(), self.facts.lock().clone());
        let save = move || {
            let range = |name: &str| facts[name].as_str().unwrap_or_default();
            snapshot::save(&store, range("podCIDR"), range("serviceCIDR"), &file)
        };
        let saved = tokio::task::spawn_blocking(save).await.map_err(|error| Status::new(500, "InternalError", error.to_string()))?;
        Ok(json!({"objects": saved.map_err(|error| Status::bad_request(chain(&error)))?}))
    }

    async fn build(&self, call: ControlCall) -> Result<Value, Status> {
        let request = json_body(call).await?;
        let name = request["name"].as_str().unwrap_or_default().to_owned();
        let programs: Vec<PathBuf> =
            request["programs"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from).collect();
        if name.is_empty() || programs.is_empty() {
            return Err(Status::bad_request("an image needs a name and programs"));
        }
        let mut id = String::new();
        for runtime in self.runtimes() {
            id = runtime.build_image(&name, &programs).await.map_err(refused)?.id;
        }
        Ok(json!({"built": name, "id": id}))
    }

    async fn remove(&self, name: &str) -> Result<Value, Status> {
        for runtime in self.runtimes() {
            runtime.remove_image(name).await.map_err(refused)?;
        }
        Ok(json!({"removed": name}))
    }
}

async fn json_body(mut call: ControlCall) -> Result<Value, Status> {
    let mut body = Vec::new();
    while let Some(part) = call.body.next().await {
        body.extend_from_slice(&part.map_err(|error| Status::bad_request(error.to_string()))?);
    }
    serde_json::from_slice(&body).map_err(|error| Status::bad_request(error.to_string()))
}

/// Bytes of memory this process has resident.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}
