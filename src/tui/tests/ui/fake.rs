//! An API server small enough to read: objects in a map, watches over a channel, and ways to make it fail.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use coracle_api::clock::ManualClock;
use coracle_tui::source::contexts::{Context, Contexts};
use coracle_tui::{Boot, Connection, Headless, Options};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
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
    /// It says what is used.
    measures: bool,
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
            changes: broadcast::channel(100_000).0,
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

    pub fn log(&self, pod: &str, text: &str) {
        self.state.lock().logs.insert(pod.to_owned(), text.to_owned());
    }

    /// Every write is refused with this Status from now on.
    pub fn refuse(&self, status: Option<Value>) {
        self.state.lock().refused = status;
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

    fn answer(&self, parts: &http::request::Parts, body: &[u8]) -> Response<StreamBody<Frames>> {
        let path = parts.uri.path();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decode(value)))
            .collect();
        self.state.lock().requests.push(format!("{} {}", parts.method, parts.uri));
        let as_table = parts.headers.get("accept").is_some_and(|accept| accept.to_str().unwrap().contains("as=Table"));
        match path {
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" => {
                return match self.state.lock().rules.clone() {
                    Some(rules) => reply(201, &json!({"status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": false}})),
                    None => reply(404, &status(404, "NotFound", "no reviews here")),
                };
            }
            "/openapi/v3" => {
                let paths = json!({"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=1"}});
                return reply(200, &json!({"paths": paths}));
            }
            "/openapi/v3/apis/apps/v1" => return reply(200, &openapi()),
            "/apis/metrics.k8s.io/v1beta1/pods" if self.state.lock().measures => {
                let pod = json!({"metadata": {"name": "web-58vhc", "namespace": "default"},
                    "containers": [{"name": "main", "usage": {"cpu": "31250000n", "memory": "33Mi"}}]});
                return reply(200, &json!({"items": [pod]}));
            }
            "/apis/metrics.k8s.io/v1beta1/nodes" if self.state.lock().measures => {
                let node = json!({"metadata": {"name": "laptop"}, "usage": {"cpu": "1", "memory": "1Gi"}});
                return reply(200, &json!({"items": [node]}));
            }
            "/version" => return reply(200, &json!({"gitVersion": "v1.36.0"})),
            "/api" => return reply(200, &discovery(|version| !version.contains('/'))),
            "/apis" => {
                let mut found = discovery(|version| version.contains('/'));
                if self.state.lock().measures {
                    let of =
                        |plural: &str, kind: &str| json!({"resource": plural, "responseKind": {"kind": kind}, "verbs": ["get", "list"]});
                    let resources = [of("pods", "PodMetrics"), of("nodes", "NodeMetrics")];
                    found["items"].as_array_mut().unwrap().push(
                        json!({"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "resources": resources}]}),
                    );
                }
                return reply(200, &found);
            }
            _ => {}
        }
        if let Some(version) =
            path.strip_prefix("/apis/").or(path.strip_prefix("/api/")).filter(|version| KINDS.iter().any(|kind| kind.0 == *version))
        {
            let resources: Vec<Value> = KINDS
                .iter()
                .filter(|kind| kind.0 == version)
                .map(|(_, kind, plural, namespaced, _)| {
                    json!({"name": plural, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "patch"]})
                })
                .collect();
            return reply(200, &json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources}));
        }
        let trimmed = path.trim_start_matches("/apis/").trim_start_matches("/api/");
        let known = KINDS.iter().find_map(|kind| Some((kind.0, trimmed.strip_prefix(kind.0)?.strip_prefix('/')?)));
        let Some((version, rest)) = known else {
            return reply(404, &status(404, "NotFound", "the server could not find the requested resource"));
        };
        let words: Vec<&str> = rest.split('/').collect();
        let (namespace, words) = match words.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            words => ("", words),
        };
        let plural = words[0];
        if !KINDS.iter().any(|kind| kind.2 == plural) {
            return reply(404, &status(404, "NotFound", "the server could not find the requested resource"));
        }
        match (parts.method.as_str(), &words[1..]) {
            ("GET", []) if query.contains_key("watch") => self.watch(version, plural, namespace, &query, as_table),
            ("GET", []) => self.list(version, plural, namespace, &query, as_table),
            ("GET", [name, "log"]) => self.logs(name),
            ("GET", [name, "scale"]) => {
                let object = self.get(&format!("{plural}/{namespace}/{name}")).unwrap();
                reply(200, &json!({"kind": "Scale", "spec": {"replicas": object["spec"]["replicas"]}}))
            }
            ("GET", [name]) => match self.get(&format!("{plural}/{namespace}/{name}")) {
                Some(object) => reply(200, &object),
                None => reply(404, &status(404, "NotFound", &format!("{plural} \"{name}\" not found"))),
            },
            ("POST", []) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                if !namespace.is_empty() {
                    object["metadata"]["namespace"] = namespace.into();
                }
                self.put(object.clone());
                reply(201, &object)
            }
            ("POST", [name, "eviction"]) => {
                self.remove(&format!("{plural}/{namespace}/{name}"));
                reply(201, &json!({"kind": "Status", "status": "Success"}))
            }
            ("DELETE", [name]) => {
                self.remove(&format!("{plural}/{namespace}/{name}"));
                reply(200, &json!({"kind": "Status", "status": "Success"}))
            }
            ("PATCH", [name, ..]) => self.patch(&format!("{plural}/{namespace}/{name}"), body, query.contains_key("dryRun")),
            _ => reply(405, &status(405, "MethodNotAllowed", "no")),
        }
    }

    fn patch(&self, key: &str, body: &[u8], dry_run: bool) -> Response<StreamBody<Frames>> {
        if let Some(status) = self.state.lock().refused.clone() {
            return reply(u16::try_from(status["code"].as_u64().unwrap()).unwrap(), &status);
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        let Some(mut object) = self.get(key) else { return reply(404, &status(404, "NotFound", "there is nothing to patch")) };
        for step in patch.as_array().into_iter().flatten() {
            *object.pointer_mut(step["path"].as_str().unwrap()).unwrap() = step["value"].clone();
        }
        let asked = patch.pointer("/metadata/resourceVersion");
        if asked.is_some_and(|revision| *revision != object["metadata"]["resourceVersion"]) {
            return reply(409, &status(409, "Conflict", "the object has been modified"));
        }
        if patch.is_object() {
            merge(&mut object, &patch);
        }
        if !dry_run {
            self.put(object.clone());
        }
        reply(200, &object)
    }

    fn selected(version: &str, plural: &str, namespace: &str, query: &BTreeMap<String, String>, key: &str, object: &Value) -> bool {
        let _ = version;
        let mut words = key.split('/');
        let selects = |selector: &str, of: &dyn Fn(&str) -> Value| {
            selector.split(',').all(|term| term.split_once('=').is_none_or(|(field, value)| of(field) == value))
        };
        words.next() == Some(plural)
            && words.next().is_some_and(|own| namespace.is_empty() || own == namespace)
            && query.get("fieldSelector").is_none_or(|text| {
                selects(text, &|field| object.pointer(&format!("/{}", field.replace('.', "/"))).cloned().unwrap_or_default())
            })
            && query.get("labelSelector").is_none_or(|text| selects(text, &|label| object["metadata"]["labels"][label].clone()))
    }

    fn list(
        &self,
        version: &str,
        plural: &str,
        namespace: &str,
        query: &BTreeMap<String, String>,
        table: bool,
    ) -> Response<StreamBody<Frames>> {
        let state = self.state.lock();
        let limit: usize = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let after = query.get("continue").cloned().unwrap_or_default();
        let exact = query.get("resourceVersion").filter(|_| query.contains_key("resourceVersionMatch")).map(|text| text.parse().unwrap());
        let then = exact.map(|at: u64| {
            let mut objects: BTreeMap<String, Value> = BTreeMap::new();
            for (_, kind, key, object) in state.history.iter().filter(|change| change.0 <= at) {
                match kind.as_str() {
                    "DELETED" => drop(objects.remove(key)),
                    _ => drop(objects.insert(key.clone(), object.clone())),
                }
            }
            objects
        });
        let mut found = then
            .as_ref()
            .unwrap_or(&state.objects)
            .iter()
            .filter(|(key, object)| Self::selected(version, plural, namespace, query, key, object) && **key > after);
        let page: Vec<(&String, &Value)> = found.by_ref().take(limit).collect();
        let more = found.next().map(|_| page.last().unwrap().0.clone());
        let items: Vec<Value> = page.into_iter().map(|(_, object)| object.clone()).collect();
        let metadata = json!({"resourceVersion": state.revision.to_string(), "continue": more});
        let kind = KINDS.iter().find(|kind| kind.2 == plural).unwrap().1;
        if table {
            return reply(200, &to_table(plural, &items, metadata));
        }
        reply(200, &json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": metadata, "items": items}))
    }

    fn watch(
        &self,
        version: &str,
        plural: &str,
        namespace: &str,
        query: &BTreeMap<String, String>,
        table: bool,
    ) -> Response<StreamBody<Frames>> {
        let (version, plural, namespace, query) = (version.to_owned(), plural.to_owned(), namespace.to_owned(), query.clone());
        let from: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
        // what changed between the list and now comes first
        let missed: Vec<(String, String, Value)> = {
            let state = self.state.lock();
            let since = state.history.iter().filter(|change| change.0 > from);
            since.map(|(_, kind, key, object)| (kind.clone(), key.clone(), object.clone())).collect()
        };
        let (changes, cut) = (self.changes.subscribe(), self.cut.subscribe());
        let stream = futures::stream::iter(missed).chain(futures::stream::unfold((changes, cut), |(mut changes, mut cut)| async move {
            tokio::select! {
                change = changes.recv() => change.ok().map(|change| (change, (changes, cut))),
                _ = cut.recv() => None,
            }
        }));
        let frames = stream.filter_map(move |(kind, key, object)| {
            let selected = Self::selected(&version, &plural, &namespace, &query, &key, &object);
            let object = if table { to_table(&plural, &[object], json!({})) } else { object };
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            async move { selected.then(|| Ok(http_body::Frame::data(Bytes::from(line)))) }
        });
        Response::new(StreamBody::new(frames.boxed()))
    }

    fn logs(&self, pod: &str) -> Response<StreamBody<Frames>> {
        let text = self.state.lock().logs.get(pod).cloned().unwrap_or_default();
        let first = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(text)))]);
        Response::new(StreamBody::new(first.chain(futures::stream::pending()).boxed()))
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

fn to_table(plural: &str, items: &[Value], metadata: Value) -> Value {
    let columns: &[&str] = match plural {
        "pods" => &["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"],
        "deployments" => &["Name", "Ready", "Up-to-date", "Available", "Age"],
        "boats" => &["Name", "Crew", "Age"],
        _ => &["Name", "Status", "Age"],
    };
    let cell = |object: &Value, column: &str| match column {
        "Name" => object["metadata"]["name"].clone(),
        "Status" => object["status"]["phase"].clone(),
        "Ready" if plural == "deployments" => format!("{}/{}", object["status"]["readyReplicas"], object["spec"]["replicas"]).into(),
        "Ready" => if object["status"]["phase"] == "Running" { "1/1" } else { "0/1" }.into(),
        "Restarts" => object.pointer("/status/containerStatuses/0/restartCount").cloned().unwrap_or_default(),
        "IP" => object["status"]["podIP"].clone(),
        "Node" => object["spec"]["nodeName"].clone(),
        "Crew" => object["spec"]["crew"].clone(),
        "Age" => "18m".into(),
        _ => object["spec"]["replicas"].clone(),
    };
    let rows: Vec<Value> = items
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| cell(object, column)).collect();
            json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "metadata": object["metadata"]}})
        })
        .collect();
    let definitions: Vec<Value> =
        columns.iter().map(|name| json!({"name": name, "type": if *name == "Crew" { "integer" } else { "string" }, "priority": u8::from(matches!(*name, "IP" | "Node"))})).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows})
}

fn discovery(belongs: impl Fn(&str) -> bool) -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (version, kind, plural, namespaced, scale) in KINDS.iter().filter(|kind| belongs(kind.0)) {
        groups.entry(version).or_default().push(json!({
            "resource": plural, "responseKind": {"kind": kind}, "scope": if *namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": kind.to_lowercase(), "verbs": ["get", "list", "watch", "patch", "delete"],
            "shortNames": match *plural { "pods" => json!(["po"]), "deployments" => json!(["deploy"]), "events" => json!(["ev"]), "configmaps" => json!(["cm"]), "replicasets" => json!(["rs"]), "services" => json!(["svc"]), "nodes" => json!(["no"]), _ => json!([]) },
            "subresources": if *scale { json!([{"subresource": "scale"}]) } else { json!([]) },
        }));
    }
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(version, resources)| {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            json!({"metadata": {"name": group}, "versions": [{"version": version, "resources": resources}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})
}

/// The schema of deployments, cut down.
fn openapi() -> Value {
    let of = |kind: &str, doc: &str| json!({"type": kind, "description": doc});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let any = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let container = object(json!({"name": of("string", "Name of the container."), "image": of("string", "Container image name."),
        "imagePullPolicy": {"type": "string", "enum": ["Always", "IfNotPresent", "Never"]}, "ports": {"type": "array", "items": {"type": "object"}}}));
    let template = object(json!({"metadata": object(json!({"labels": any})),
        "spec": object(json!({"containers": {"type": "array", "items": container}, "serviceAccountName": of("string", "The account it runs as.")}))}));
    let spec = object(json!({
        "replicas": of("integer", "Number of desired pods. Defaults to 1."),
        "minReadySeconds": of("integer", "How long a pod must be ready before it counts as available."),
        "paused": of("boolean", "Whether the deployment is paused."),
        "selector": object(json!({"matchLabels": any})),
        "template": template,
    }));
    let metadata = object(json!({"name": of("string", "Name of the object."), "namespace": of("string", "Its namespace."), "labels": any,
        "annotations": any}));
    json!({"components": {"schemas": {"io.k8s.api.apps.v1.Deployment": {
        "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
        "type": "object",
        "properties": {"apiVersion": of("string", "Version of the schema."), "kind": of("string", "What it is."), "metadata": metadata, "spec": spec},
    }}}})
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn reply(code: u16, value: &Value) -> Response<StreamBody<Frames>> {
    let frames = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(value.to_string())))]).boxed();
    Response::builder().status(code).body(StreamBody::new(frames)).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    for (field, value) in patch.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(field);
        } else if value.is_object() && target[field].is_object() {
            merge(&mut target[field], value);
        } else {
            target[field] = value.clone();
        }
    }
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
