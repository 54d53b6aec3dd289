//! Every action of the table on a real cluster in this process: server, controllers, scheduler and a node whose containers
//! are simulated. What is read shares one namespace; each write has one of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_cluster::{Cluster, ClusterConfig, DataDirectory, RuntimeChoice, RuntimeKind, Steps};
use coracle_tui::action::by_name;
use coracle_tui::source::contexts::{Context, Contexts};
use coracle_tui::{Boot, Connection, Headless, Options};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::actions::{CASES, Stage, draft, folder, play, release};

/// These act on the one node: one after the other, when all else is done.
const ALONE: &[&str] = &["cordon", "uncordon", "node-shell", "drain"];
/// These write, though the table does not say so of their own.
const WRITING: &[&str] = &[
    "version-diff",
    "manifest-open",
    "manifest-edit",
    "manifest-view",
    "manifest-pause",
    "manifest-apply",
    "manifest-delete",
    "manifest-recreate",
];

type Requests = Arc<Mutex<Vec<String>>>;

/// A client that writes down what is asked.
fn recording(inner: kube::Client, requests: Requests) -> kube::Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        requests.lock().push(format!("{} {}", request.method(), request.uri()));
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    kube::Client::new(service, "default")
}

async fn ask(client: &kube::Client, method: &str, path: &str, body: Value) -> Result<Value, kube::Error> {
    let patch = if path.ends_with("/status") { "application/merge-patch+json" } else { "application/strategic-merge-patch+json" };
    let content = if method == "PATCH" { patch } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", content).body(body.to_string().into_bytes()).unwrap();
    client.request(request).await
}

async fn post(client: &kube::Client, path: &str, body: Value) {
    // what was made is there at once for those that refer to it, but for accounts and kinds, which take a moment
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match ask(client, "POST", path, body.clone()).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{path}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until something read passes a look.
async fn until<T>(client: &kube::Client, path: &str, look: impl Fn(&Value) -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let seen = ask(client, "GET", path, Value::Null).await;
        if let Some(found) = seen.as_ref().ok().and_then(&look) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path}: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What all cases share.
async fn furnish(client: &kube::Client) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"crew": {"type": "integer"}}}}});
    post(
        client,
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}),
    )
    .await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    post(
        client,
        &format!("{rbac}/clusterroles"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}),
    )
    .await;
    post(
        client,
        &format!("{rbac}/clusterrolebindings"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "read"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}]}),
    )
    .await;
    post(client, "/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).await;
    let spec = json!({"containers": [{"name": "main", "image": "coracle.local/kubia:1.0"}]});
    post(client, "/api/v1/namespaces/shop/pods", json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-1"}, "spec": spec}))
        .await;
    until(client, "/apis/example.com/v1/boats", |_| Some(())).await;
}

/// The objects the cases are about, in a namespace, and what they are called there.
async fn people(client: &kube::Client, namespace: &str) -> Vec<(String, String)> {
    if namespace != "default" {
        post(client, "/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
    }
    let at = |group: &str, plural: &str| match group {
        "" => format!("/api/v1/namespaces/{namespace}/{plural}"),
        group => format!("/apis/{group}/namespaces/{namespace}/{plural}"),
    };
    let simulated = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| (format!("simulated.coracle.local/{key}"), Value::from(*value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (name, data) in [("settings", json!({"a": "b"})), ("shop", json!({"two": "yes"}))] {
        post(client, &at("", "configmaps"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
            .await;
    }
    let log = simulated(&[("log", "Kubia server starting...\nReceived request for / from 10.244.0.1")]);
    let container = |image: &str| json!({"name": "main", "image": image, "ports": [{"containerPort": 8080}]});
    let template = json!({"metadata": {"labels": {"app": "web"}, "annotations": log},
        "spec": {"containers": [container("coracle.local/kubia:0.9")], "volumes": [{"name": "s", "configMap": {"name": "settings"}}]}});
    post(
        client,
        &at("apps/v1", "deployments"),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
    )
    .await;
    let bare = |name: &str, restart: &str, annotations: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations},
            "spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 0, "containers": [container("coracle.local/kubia:1.0")]}})
    };
    let crashing = simulated(&[("exit-after", "10ms"), ("exit-code", "1")]);
    post(client, &at("", "pods"), bare("api-ppq9", "Always", crashing)).await;
    post(client, &at("", "pods"), bare("job-seed", "Never", simulated(&[("exit-after", "10ms")]))).await;
    post(
        client,
        &at("", "services"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    )
    .await;
    post(
        client,
        &at("", "secrets"),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": {"password": "aGVsbG8="}}),
    )
    .await;
    for (version, status) in [(1, "superseded"), (2, "deployed")] {
        let mut secret = release(version, status);
        secret["metadata"]["namespace"] = namespace.into();
        post(client, &at("", "secrets"), secret).await;
    }
    let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container("coracle.local/kubia:1.0")]}}}});
    post(
        client,
        &at("batch/v1", "cronjobs"),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
        "spec": {"schedule": "0 0 29 2 *", "jobTemplate": job}}),
    )
    .await;
    post(
        client,
        &at("example.com/v1", "boats"),
        json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "coracle"}, "spec": {"crew": 1}}),
    )
    .await;

    let deployment = format!("{}/web", at("apps/v1", "deployments"));
    let settled =
        |web: &Value| web["status"]["observedGeneration"] == web["metadata"]["generation"] && web["status"]["updatedReplicas"] == 2;
    until(client, &deployment, |web| settled(web).then_some(())).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "coracle.local/kubia:1.0"}]}}}});
    ask(client, "PATCH", &deployment, image).await.unwrap();
    let sets = until(client, &at("apps/v1", "replicasets"), |list| {
        let revision = |wanted: &str| {
            let of = |set: &&Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == wanted;
            Some(list["items"].as_array()?.iter().find(of)?["metadata"]["name"].as_str()?.to_owned())
        };
        Some((revision("1")?, revision("2")?))
    })
    .await;
    let pods = until(client, &format!("{}?labelSelector=app%3Dweb", at("", "pods")), |list| {
        let pods = list["items"].as_array()?;
        let ready = |pod: &&Value| {
            pod["status"]["containerStatuses"][0]["ready"] == true
                && pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(&sets.1))
        };
        let mut names: Vec<String> = pods.iter().filter(ready).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        (pods.len() == 2 && names.len() == 2).then_some(names)
    })
    .await;
    until(client, &format!("{}/api-ppq9", at("", "pods")), |pod| {
        (pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff").then_some(())
    })
    .await;
    until(client, &format!("{}/job-seed", at("", "pods")), |pod| (pod["status"]["phase"] == "Succeeded").then_some(())).await;
    let node = until(client, "/api/v1/nodes", |list| Some(list["items"][0]["metadata"]["name"].as_str()?.to_owned())).await;
    let suffix = pods[0].rsplit('-').next().unwrap_or_default().to_owned();
    [("web-58vhc", &pods[0]), ("web-p449x", &pods[1]), ("web-1", &sets.0), ("web-2", &sets.1), ("58v", &suffix), ("laptop", &node)]
        .into_iter()
        .map(|(here, there)| (here.to_owned(), there.clone()))
        .collect()
}

/// A second context, on the same cluster.
struct Other(kube::Client, String);

impl Contexts for Other {
    fn list(&self) -> Result<Vec<Context>, String> {
        Ok(vec![Context { name: "other".into(), namespace: self.1.clone(), ..Context::default() }])
    }

    fn connect(&self, name: String) -> BoxFuture<'static, Result<Connection, String>> {
        let connection = connection(self.0.clone(), &name, &self.1, false);
        Box::pin(async move { Ok(connection) })
    }

    fn rename(&self, _name: &str, _new: &str) -> Result<(), String> {
        Ok(())
    }

    fn remove(&self, _name: &str) -> Result<(), String> {
        Ok(())
    }
}

fn connection(client: kube::Client, context: &str, namespace: &str, embedded: bool) -> Connection {
    let namespace = Some(namespace.to_owned());
    Connection { client, context: context.into(), server: "in this process".into(), namespace, embedded, folders: Vec::new() }
}

async fn ui(client: kube::Client, dir: &Path, namespace: &str) -> Headless {
    let options = Options {
        state_dir: Some(dir.to_owned()),
        contexts: Arc::new(Other(client.clone(), namespace.to_owned())),
        colors: Some(coracle_tui::theme::ColorDepth::True),
        time_zone: jiff::tz::TimeZone::UTC,
        ..Options::default()
    };
    Headless::start(options, Boot::connected(connection(client, "coracle", namespace, true)), 160, 45).await.unwrap()
}

async fn check(
    client: kube::Client,
    (name, keys, wanted): (&str, &str, &[&str]),
    namespace: String,
    names: Vec<(String, String)>,
) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let there = |text: &str| {
        // a name of there may have one of here in it: marks stand between
        let mark = |index: usize| char::from_u32(0xe000 + u32::try_from(index).unwrap()).unwrap().to_string();
        let marked = names.iter().enumerate().fold(text.to_owned(), |text, (index, (here, _))| text.replace(here, &mark(index)));
        let text = marked.replace("default", &namespace);
        names.iter().enumerate().fold(text, |text, (index, (_, there))| text.replace(&mark(index), there))
    };
    let folder = folder(dir.path(), &namespace);
    if name.starts_with("draft") {
        draft(dir.path(), &namespace);
    }
    let ui = ui(recording(client, requests.clone()), dir.path(), &namespace).await;
    let wanted: Vec<String> = wanted.iter().map(|part| there(part)).collect();
    let asked = || requests.lock().iter().map(|request| crate::fake::decode(request)).collect();
    let stage = Stage { ui, dir: dir.path(), requests: &asked };
    play(stage, name, &there(keys).replace("FOLDER", &folder.display().to_string()), &wanted).await
}

async fn start(dir: &Path) -> Cluster {
    let directory = DataDirectory::new(dir.to_owned());
    directory.create().unwrap();
    let config = ClusterConfig {
        directory,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        runtime: RuntimeChoice::Named(RuntimeKind::Simulated),
        nodes: 1,
        ranges: None,
        longest_restart_delay: std::time::Duration::from_secs(300),
        program: "/bin/true".into(),
        lifecycle: Default::default(),
        autoscaling: Default::default(),
    };
    Cluster::start(config, &Steps::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_does_what_it_says_on_a_real_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = start(dir.path()).await;
    let client = cluster.client(Identity::admin());
    furnish(&client).await;
    let names = people(&client, "default").await;

    let alone = |name: &str| ALONE.contains(&name);
    let writes = |name: &str| by_name(name).is_some_and(|action| action.writes) || WRITING.contains(&name);
    let shared = CASES.iter().filter(|case| !writes(case.0) && !alone(case.0));
    let shared = shared.map(|case| check(client.clone(), *case, "default".to_owned(), names.clone()));
    let mut failed: Vec<String> = futures::stream::iter(shared).buffer_unordered(4).filter_map(async |failed| failed).collect().await;

    let own = CASES.iter().filter(|case| writes(case.0) && !alone(case.0)).map(|case| {
        let client = client.clone();
        async move {
            let namespace = format!("of-{}", case.0);
            let names = people(&client, &namespace).await;
            let failed = check(client.clone(), *case, namespace.clone(), names).await;
            // the node has room for so many pods, and not for those of all cases
            ask(&client, "DELETE", &format!("/api/v1/namespaces/{namespace}"), Value::Null).await.unwrap();
            failed
        }
    });
    failed.extend(futures::stream::iter(own).buffer_unordered(4).filter_map(async |failed| failed).collect::<Vec<_>>().await);

    for name in ALONE {
        let case = CASES.iter().find(|case| case.0 == *name).unwrap();
        failed.extend(check(client.clone(), *case, "default".to_owned(), names.clone()).await);
        let node = &names.last().unwrap().1;
        ask(&client, "PATCH", &format!("/api/v1/nodes/{node}"), json!({"spec": {"unschedulable": null}})).await.unwrap();
    }
    cluster.stop(false).await;
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}

/// The server keeps texts of a secret as data: who watches the folder again finds what its file says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_as_its_file_says_is_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = start(&dir.path().join("data")).await;
    let folder = dir.path().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: token\nstringData:\n  password: hello\n";
    std::fs::write(folder.join("token.yaml"), secret).unwrap();
    for state in ["applied at", "unchanged at"] {
        let mut ui = ui(cluster.client(Identity::admin()), &dir.path().join("state"), "default").await;
        ui.press(&format!(":watch {}<enter>", folder.display())).await.unwrap();
        let text = ui.until(|text| text.contains("applied at") || text.contains("unchanged at")).await.unwrap();
        assert!(text.contains(state), "{text}");
    }
    cluster.stop(false).await;
}
