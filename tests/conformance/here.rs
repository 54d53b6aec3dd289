//! What a test has: a namespace of its own on the shared cluster, and ways to talk to it.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::answer::Answer;
use super::harness::run::{Ran, Running, run};
use super::harness::{Cluster, Need, kubectl, need};
use super::shared::shared;
use super::watch::Watch;

/// How long anything may take on a busy machine: the first pod waits for an image to be made and read by an engine.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// Tests that run alone take it for writing.
static TURN: RwLock<()> = RwLock::new(());

/// Runs a test beside others.
pub fn row(name: &str, needs: &[Need], test: impl AsyncFnOnce(&Here) + Send + 'static) {
    if need::possible(name, needs) {
        let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
        on_a_thread(name, test);
    }
}

/// Runs a test while no other runs.
pub fn row_alone(name: &str, needs: &[Need], test: impl AsyncFnOnce(&Here) + Send + 'static) {
    if need::possible(name, needs) {
        let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
        on_a_thread(name, test);
    }
}

fn on_a_thread(name: &str, test: impl AsyncFnOnce(&Here) + Send + 'static) {
    let words: Vec<&str> = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-").to_lowercase();
    slug.truncate(40);
    let work = move || {
        shared().enter_network();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(in_a_namespace(slug.trim_end_matches('-'), test));
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap();
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

async fn in_a_namespace(slug: &str, test: impl AsyncFnOnce(&Here)) {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let namespace = format!("{slug}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let cluster = shared().cluster();
    let kubeconfig = Kubeconfig::read_from(cluster.place.kubeconfig()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_namespace.clone_from(&namespace);
    // a refusal is an answer, not a reason to ask again
    config.default_retry = false;
    let client = kube::Client::try_from(config.clone()).unwrap();
    let kubectl = kubectl::program().map(Path::to_owned).unwrap_or_default();
    let here = Here { cluster, client, config, kubectl, namespace, later: Mutex::default() };
    here.make_namespace(&here.namespace, json!({})).await;
    let came = AssertUnwindSafe(test(&here)).catch_unwind().await;
    if came.is_err() {
        here.tell().await;
    }
    here.clean_up().await;
    if let Err(panic) = came {
        resume_unwind(panic);
    }
}

/// A namespace on the shared cluster, and who asks there: the administrator.
pub struct Here {
    pub cluster: Arc<Cluster>,
    pub client: kube::Client,
    config: kube::Config,
    kubectl: PathBuf,
    pub namespace: String,
    later: Mutex<Vec<String>>,
}

/// Paths and requests. What fails to be asked at all ends the test.
impl Here {
    /// The path of a resource in this namespace, or of an object of it: `path("apps/v1", "deployments/web")`.
    pub fn path(&self, version: &str, resource: &str) -> String {
        format!("{}/namespaces/{}/{resource}", group_path(version), self.namespace)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.ask("POST", path, &[("content-type", "application/json")], Some(object.to_string())).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.ask("PUT", path, &[("content-type", "application/json")], Some(object.to_string())).await
    }

    /// `kind` is one of [`MERGE`], [`STRATEGIC`], [`JSON_PATCH`], [`APPLY`].
    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        self.ask("PATCH", path, &[("content-type", kind)], Some(patch.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], None).await
    }

    /// Deletes with `DeleteOptions`.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.ask("DELETE", path, &[("content-type", "application/json")], Some(options.to_string())).await
    }

    /// Any request.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let told = format!("{method} {path} {}", body.as_deref().unwrap_or_default());
        let request = request.body(Body::from(body.unwrap_or_default().into_bytes())).unwrap();
        let asked = async {
            let (head, body) = self.client.send(request).await.unwrap_or_else(|error| panic!("{told}: {error}")).into_parts();
            (head, body.collect().await.unwrap_or_else(|error| panic!("{told}: {error}")).to_bytes())
        };
        let Ok((head, bytes)) = tokio::time::timeout(PATIENCE, asked).await else { panic!("{told}: no answer in {PATIENCE:?}") };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { request: told, code: head.status.as_u16(), headers: head.headers, text, body }
    }

    /// Opens a watch: `path` without `watch=1`, with its other parameters.
    pub async fn watch(&self, path: &str) -> Watch {
        let uri = format!("{path}{}watch=1", if path.contains('?') { '&' } else { '?' });
        let request = Request::get(&uri).body(Body::empty()).unwrap();
        let (head, body) = self.client.send(request).await.unwrap().into_parts();
        if !head.status.is_success() {
            let said = body.collect().await.unwrap().to_bytes();
            panic!("{uri}: {} {}", head.status, String::from_utf8_lossy(&said));
        }
        Watch::new(uri, body)
    }

    /// Resources of a kind in this namespace, typed.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same place, asked by somebody else.
    pub fn client_with(&self, change: impl FnOnce(&mut kube::Config)) -> kube::Client {
        let mut config = self.config.clone();
        change(&mut config);
        kube::Client::try_from(config).unwrap()
    }

    /// The same place, asked with a token or without any identity.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        let client = self.client_with(|config| {
            config.auth_info = kube::config::AuthInfo { token: token.map(|token| token.to_owned().into()), ..Default::default() };
        });
        self.with_client(client)
    }

    /// The same place, asked by somebody whom the administrator impersonates.
    pub fn acting_as(&self, user: &str, groups: &[&str]) -> Self {
        let client = self.client_with(|config| {
            config.auth_info.impersonate = Some(user.to_owned());
            config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
        });
        self.with_client(client)
    }

    fn with_client(&self, client: kube::Client) -> Self {
        let (cluster, config, kubectl) = (self.cluster.clone(), self.config.clone(), self.kubectl.clone());
        Self { cluster, client, config, kubectl, namespace: self.namespace.clone(), later: Mutex::default() }
    }
}

/// `v1` is at `/api/v1`, `apps/v1` at `/apis/apps/v1`.
pub fn group_path(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

/// `kubectl`, in this namespace.
impl Here {
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.place.command(&self.kubectl.to_string_lossy());
        command.args(["-n", &self.namespace]).args(arguments);
        command
    }

    /// The same place with another `kubectl`.
    pub fn with_kubectl(&self, program: &Path) -> Self {
        Self { kubectl: program.to_owned(), ..self.with_client(self.client.clone()) }
    }

    /// A program that finds this cluster as its kubeconfig says.
    pub fn command(&self, program: &str) -> Command {
        self.cluster.place.command(program)
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_with(arguments, b"")
    }

    pub fn kubectl_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run(&mut self.kubectl_command(arguments), input, Duration::from_secs(120))
    }

    pub fn kubectl_running(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.kubectl_command(arguments), std::process::Stdio::null())
    }
}

/// Waiting, and what goes when the test ends.
impl Here {
    /// Waits until `look` gives a value; fails with what it saw last.
    pub async fn until<T, E: Debug>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(10);
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) if Instant::now() > deadline => {
                    let seen = format!("{seen:?}").replace("\\n", "\n").replace("\\\"", "\"");
                    panic!("waited {PATIENCE:?} in vain for: {what}\nlast seen:\n{seen}");
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 3 / 2).min(Duration::from_millis(250));
        }
    }

    /// Waits until an object passes a look.
    pub async fn until_object(&self, what: &str, path: &str, mut look: impl FnMut(&Value) -> bool) -> Value {
        self.until(what, async || {
            let object = self.get(path).await.try_ok()?;
            if look(&object) { Ok(object) } else { Err(object.to_string()) }
        })
        .await
    }

    /// Waits until an object is not there.
    pub async fn until_gone(&self, path: &str) {
        self.until(&format!("{path} is gone"), async || {
            let answer = self.get(path).await;
            if answer.code == 404 { Ok(()) } else { Err(answer.said()) }
        })
        .await;
    }

    /// Waits until a pod of this namespace is in a phase.
    pub async fn until_phase(&self, pod: &str, phase: &str) -> Value {
        let path = self.path("v1", &format!("pods/{pod}"));
        self.until_object(&format!("pod {pod} is {phase}"), &path, |pod| pod["status"]["phase"] == phase).await
    }

    /// An object outside of the namespace that goes when the test ends.
    pub fn remove_later(&self, path: impl Into<String>) {
        self.later.lock().unwrap().push(path.into());
    }

    /// Makes another namespace, which goes too. `metadata` may carry labels.
    pub async fn make_namespace(&self, name: &str, metadata: Value) {
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        namespace["metadata"]["name"] = json!(name);
        self.post("/api/v1/namespaces", &namespace).await.ok();
        self.remove_later(format!("/api/v1/namespaces/{name}"));
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        self.until_object("the namespace has its service account", &account, |_| true).await;
    }

    /// What a failed test leaves to read.
    async fn tell(&self) {
        for what in ["pods", "events"] {
            if kubectl::program().is_some() {
                eprintln!("{}", self.kubectl(&["get", what, "-o", "wide"]).said());
            }
        }
    }

    async fn clean_up(&self) {
        let pods = self.path("v1", "pods");
        self.delete_with(&pods, &json!({"gracePeriodSeconds": 1})).await;
        let later = std::mem::take(&mut *self.later.lock().unwrap());
        for path in later.iter().rev() {
            let answer = self.delete(path).await;
            assert!(answer.code < 300 || [404, 409].contains(&answer.code), "{}", answer.said());
        }
    }
}
