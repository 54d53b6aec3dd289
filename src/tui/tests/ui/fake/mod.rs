//! An API server small enough to read: objects in a map, watches over a channel, and ways to make it fail.

mod answers;
mod documents;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use coracle_api::clock::ManualClock;
use coracle_tui::source::contexts::{Context, Contexts};
use coracle_tui::{Boot, Connection, Headless, Options};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Frames = BoxStream<'static, Result<http_body::Frame<Bytes>, Infallible>>;

/// The moment every test takes place at.
pub const NOW: &str = "2026-11-21T12:00:00Z";

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    revision: u64,
    /// Every change: its revision, what happened, to what, and what it was then.
    history: Vec<(u64, String, String, Value)>,
    logs: BTreeMap<String, String>,
    refused: Option<Value>,
    rules: Option<Value>,
    /// Objects that may not be read.
    hidden: Vec<String>,
    /// It says what is used.
    measures: bool,
    /// Somebody makes again what is deleted.
    remakes: bool,
    requests: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<(String, String, Value)>,
    down: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    cut: broadcast::Sender<()>,
}

/// Group/version, kind, plural, namespaced, has scale.
const KINDS: &[(&str, &str, &str, bool, bool)] = &[
    ("v1", "Pod", "pods", true, false),
    ("v1", "Namespace", "namespaces", false, false),
    ("v1", "Node", "nodes", false, false),
    ("v1", "Event", "events", true, false),
    ("v1", "Service", "services", true, false),
    ("v1", "ConfigMap", "configmaps", true, false),
    ("v1", "Secret", "secrets", true, false),
    ("apps/v1", "Deployment", "deployments", true, true),
    ("apps/v1", "ReplicaSet", "replicasets", true, true),
    ("batch/v1", "CronJob", "cronjobs", true, false),
    ("batch/v1", "Job", "jobs", true, false),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false, false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false, false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true, false),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true, false),
    ("example.com/v1", "Boat", "boats", true, false),
];

impl Fake {
    pub fn new() -> Self {
        let fake = Self {
            state: Arc::default(),
            changes: broadcast::channel(1_024).0,
            down: Arc::default(),
            silent: Arc::default(),
            cut: broadcast::channel(16).0,
        };
        for name in ["default", "kube-system", "shop"] {
            fake.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}));
        }
        fake
    }

    /// Creates or replaces an object.
    pub fn put(&self, mut object: Value) {
        let key = key_of(&object);
        let mut state = self.state.lock();
        state.revision += 1;
        object["metadata"]["resourceVersion"] = state.revision.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", object["metadata"]["name"].as_str().unwrap()).into();
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = "2026-11-21T11:42:00Z".into();
        }
        let kind = if state.objects.insert(key.clone(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        let revision = state.revision;
        state.history.push((revision, kind.to_owned(), key.clone(), object.clone()));
        drop(state);
        let _ = self.changes.send((kind.to_owned(), key, object));
    }

    pub fn remove(&self, key: &str) {
        let mut state = self.state.lock();
        state.revision += 1;
        if let Some(mut object) = state.objects.remove(key) {
            let revision = state.revision;
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            state.history.push((revision, "DELETED".to_owned(), key.to_owned(), object.clone()));
            drop(state);
            let _ = self.changes.send(("DELETED".to_owned(), key.to_owned(), object));
        }
    }

    pub fn get(&self, key: &str) -> Option<Value> {
        self.state.lock().objects.get(key).cloned()
    }

    /// Names of the objects whose key begins so, in order.
    pub fn names(&self, start: &str) -> Vec<String> {
        self.state.lock().objects.keys().filter_map(|key| key.strip_prefix(start)).map(str::to_owned).collect()
    }

    pub fn log(&self, pod: &str, text: &str) {
        self.state.lock().logs.insert(pod.to_owned(), text.to_owned());
    }

    /// Every write is refused with this Status from now on.
    pub fn refuse(&self, status: Option<Value>) {
        self.state.lock().refused = status;
    }

    /// Whatever is deleted is there again at once, as another object of its name.
    pub fn remake(&self) {
        self.state.lock().remakes = true;
    }

    /// An object may not be read, though it may be written.
    pub fn hide(&self, key: &str) {
        self.state.lock().hidden.push(key.to_owned());
    }

    /// These rules, and no others, say what may be done.
    pub fn allow(&self, rules: Value) {
        self.state.lock().rules = Some(rules);
    }

    /// The server says what is used, by one pod and the node.
    pub fn measure(&self) {
        self.state.lock().measures = true;
        let mut node = self.get("nodes//laptop").unwrap();
        node["status"]["allocatable"] = json!({"cpu": "4", "memory": "2Gi"});
        self.put(node);
    }

    /// The server goes away, or comes back.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        if down {
            let _ = self.cut.send(());
        }
    }

    /// The server takes requests and never answers them, or answers again.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Writes so far, as `METHOD path`.
    pub fn writes(&self) -> Vec<String> {
        let writes = |request: &&String| !request.starts_with("GET") && !request.contains("dryRun") && !request.contains("reviews");
        self.state.lock().requests.iter().filter(writes).cloned().collect()
    }

    /// Requests so far, as `METHOD path`, with what was asked for decoded.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().requests.iter().map(|request| decode(request)).collect()
    }

    pub fn pod(&self, namespace: &str, name: &str, status: &str, restarts: u32) {
        self.put(pod(namespace, name, status, restarts));
    }

    /// A UI connected to this server.
    pub async fn ui(&self, width: u16, height: u16) -> Headless {
        self.ui_with(Options::default(), width, height).await
    }

    pub async fn ui_with(&self, options: Options, width: u16, height: u16) -> Headless {
        let clock = Arc::new(ManualClock::new(NOW.parse().unwrap()));
        let options = Options { clock, colors: Some(coracle_tui::theme::ColorDepth::True), time_zone: jiff::tz::TimeZone::UTC, ..options };
        let ui = Headless::start(options, Boot::connected(self.connection()), width, height).await;
        ui.unwrap()
    }

    /// A UI that writes nothing.
    pub async fn readonly_ui(&self) -> Headless {
        self.ui_with(Options { readonly: true, ..Options::default() }, 120, 30).await
    }

    /// A UI whose context is in production, as the configuration in `dir` says.
    pub async fn production_ui(&self, dir: &std::path::Path) -> Headless {
        std::fs::write(dir.join("config.toml"), "production = [\"cora*\"]\n").unwrap();
        self.ui_with(Options { config_dir: Some(dir.to_owned()), ..Options::default() }, 120, 30).await
    }

    /// Another context, on the same objects.
    pub fn contexts(&self) -> Arc<dyn Contexts> {
        Arc::new(Other(self.clone()))
    }

    pub fn connection(&self) -> Connection {
        Connection {
            client: self.client(),
            context: "coracle".to_owned(),
            server: "127.0.0.1:6443".to_owned(),
            namespace: Some("default".to_owned()),
            embedded: true,
            folders: Vec::new(),
        }
    }

    fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move {
                if fake.down.load(Ordering::SeqCst) {
                    return Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused"));
                }
                if fake.silent.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok(fake.answer(&parts, &body))
            }
        });
        kube::Client::new(service, "default")
    }
}

struct Other(Fake);

impl Contexts for Other {
    fn list(&self) -> Result<Vec<Context>, String> {
        Ok(vec![Context {
            name: "other".into(),
            cluster: "other".into(),
            user: "ada".into(),
            namespace: "default".into(),
            server: "https://other:6443".into(),
        }])
    }

    fn connect(&self, name: String) -> BoxFuture<'static, Result<Connection, String>> {
        let connection = Connection { context: name, embedded: false, ..self.0.connection() };
        Box::pin(async move { Ok(connection) })
    }

    fn rename(&self, _name: &str, _new: &str) -> Result<(), String> {
        Ok(())
    }

    fn remove(&self, _name: &str) -> Result<(), String> {
        Ok(())
    }
}

pub fn pod(namespace: &str, name: &str, status: &str, restarts: u32) -> Value {
    let ready = status == "Running";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name.split('-').next().unwrap()}},
        "spec": {"nodeName": "laptop", "containers": [{"name": "main", "image": "coracle.local/kubia:1.0", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": status, "podIP": "10.244.0.7", "containerStatuses": [{"name": "main", "ready": ready, "restartCount": restarts,
            "state": {"running": {"startedAt": "2026-11-21T11:42:01Z"}}}]},
    })
}

pub fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "managedFields": [{"manager": "kubectl"}]},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "coracle.local/kubia:1.0"}]}}},
        "status": {"readyReplicas": replicas},
    })
}

fn key_of(object: &Value) -> String {
    let plural = KINDS.iter().find(|kind| object["kind"] == kind.1).unwrap().2;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{plural}/{}/{}", text("namespace"), text("name"))
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
