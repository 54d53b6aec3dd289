//! Admission webhooks, asked by the server over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::seams::{Duplex, NodeDialer};
use coracle_api::status::Status;
use coracle_store::Options;
use harness::hooks::{Hooks, patched};
use harness::{Cluster, config_map, pod};
use http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MERGE: &str = "application/merge-patch+json";

/// A configuration with one webhook about the config maps and pods of `default`; `changes` are merged into the webhook.
fn configuration(kind: &str, name: &str, client: Value, changes: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps", "pods"]}],
    });
    coracle_api::patch::merge(&mut webhook, &changes);
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name, "labels": {"t": "y"}}, "webhooks": [webhook]})
}

async fn validating(cluster: &Cluster, name: &str, client: Value, changes: Value) {
    let configuration = configuration("ValidatingWebhookConfiguration", name, client, changes);
    let created = cluster.post(&format!("{GROUP}/validatingwebhookconfigurations"), &configuration).await;
    assert_eq!(created.code, 201, "{}", created.body);
}

async fn mutating(cluster: &Cluster, name: &str, client: Value, changes: Value) {
    let configuration = configuration("MutatingWebhookConfiguration", name, client, changes);
    let created = cluster.post(&format!("{GROUP}/mutatingwebhookconfigurations"), &configuration).await;
    assert_eq!(created.code, 201, "{}", created.body);
}

fn deny(message: &str) -> Value {
    json!({"allowed": false, "status": {"message": message, "reason": "because", "code": 418}})
}

fn say(message: &str) -> Value {
    json!({"allowed": true, "warnings": [message]})
}

#[tokio::test]
async fn a_validating_webhook_sees_the_request_and_refuses() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, asked| {
        let refused = [&asked["object"], &asked["oldObject"]].iter().any(|object| object["data"]["bad"] == "yes");
        Some(if refused { deny("no such data") } else { say("mind the data") })
    })
    .await;
    let all = json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["configmaps"], "scope": "Namespaced"}]});
    validating(&cluster, "v", hooks.client("/v"), all).await;

    let request = Request::post(format!("{MAPS}?fieldManager=me")).header("content-type", "application/json");
    let created = cluster.ask(request, config_map("a", &json!({"k": "1"})).to_string()).await;
    assert_eq!((created.code, created.headers["warning"].to_str().unwrap()), (201, r#"299 - "mind the data""#));
    let mut asked = hooks.seen.lock()[0].1.clone();
    assert_eq!(asked["object"]["data"], json!({"k": "1"}));
    assert_eq!(asked["object"]["metadata"]["uid"], created.body["metadata"]["uid"]);
    for field in ["object", "uid"] {
        assert!(asked.as_object_mut().unwrap().remove(field).is_some());
    }
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let options = json!({"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions", "fieldManager": "me"});
    assert_eq!(
        asked,
        json!({"name": "a", "namespace": "default", "operation": "CREATE", "kind": kind, "requestKind": kind, "resource": resource,
            "requestResource": resource, "oldObject": null, "dryRun": false, "options": options,
            "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}})
    );

    let refused = cluster.post(MAPS, &config_map("b", &json!({"bad": "yes"}))).await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (418, Some("because")));
    assert_eq!(refused.body["message"], r#"admission webhook "v.example.com" denied the request: no such data"#);
    let changed = cluster.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"bad": "yes"}})).await;
    assert_eq!(changed.code, 418);
    assert_eq!(hooks.seen.lock().last().unwrap().1["oldObject"]["data"], json!({"k": "1"}));
    assert_eq!(cluster.delete(&format!("{MAPS}/a")).await.code, 200);
    let asked = hooks.seen.lock().last().unwrap().1.clone();
    assert_eq!((&asked["operation"], &asked["object"], &asked["oldObject"]["data"]["k"]), (&json!("DELETE"), &Value::Null, &json!("1")));
}

#[tokio::test]
async fn mutating_webhooks_change_what_is_stored_and_are_asked_again() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|path, asked| {
        let data = &asked["object"]["data"];
        Some(match path {
            "/one" if data["one"].is_null() => patched(json!([{"op": "add", "path": "/data/one", "value": "1"}])),
            "/two" if data["one"] == "1" && data["two"].is_null() => patched(json!([{"op": "add", "path": "/data/two", "value": "2"}])),
            "/pod" => patched(json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "x"}]}])),
            _ => json!({"allowed": true}),
        })
    })
    .await;
    let maps = json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}], "reinvocationPolicy": "IfNeeded"});
    mutating(&cluster, "1", hooks.client("/one"), maps.clone()).await;
    mutating(&cluster, "2", hooks.client("/two"), maps).await;
    let created = cluster.post(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    assert_eq!(created.body["data"], json!({"k": "1", "one": "1", "two": "2"}));
    assert_eq!(hooks.paths(), ["/one", "/two", "/one"], "the first is shown what the second did, the second nothing new");

    let pods = json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]});
    mutating(&cluster, "3", hooks.client("/pod"), pods).await;
    let created = cluster.post(PODS, &pod("p")).await;
    let added = &created.body["spec"]["initContainers"][0];
    assert_eq!((added["name"].as_str(), added["terminationMessagePolicy"].as_str()), (Some("i"), Some("File")));
    assert!(added["volumeMounts"][0]["mountPath"].is_string(), "the plugins before the webhook see what it added: {added}");

    let gone = cluster.delete(&format!("{GROUP}/mutatingwebhookconfigurations?labelSelector=t%3Dy")).await;
    assert_eq!(gone.code, 200);
    assert_eq!(cluster.post(MAPS, &config_map("b", &json!({}))).await.body["data"], Value::Null);
}

#[tokio::test]
async fn selectors_dry_runs_and_exemptions() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, _| Some(deny("no"))).await;
    let object = json!({"objectSelector": {"matchLabels": {"watched": "yes"}}});
    validating(&cluster, "object", hooks.client("/object"), object).await;
    let namespace = json!({"namespaceSelector": {"matchLabels": {"watched": "yes"}}, "sideEffects": "Some"});
    // What is made beyond the API's reach is what a test of unknown side effects needs.
    let unknown = configuration("ValidatingWebhookConfiguration", "namespace", hooks.client("/namespace"), namespace);
    let refused = cluster.post(&format!("{GROUP}/validatingwebhookconfigurations"), &unknown).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let namespace = json!({"namespaceSelector": {"matchLabels": {"watched": "yes"}}});
    validating(&cluster, "namespace", hooks.client("/namespace"), namespace).await;
    let everything = json!({"rules": [{"apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]});
    validating(&cluster, "itself", hooks.client("/itself"), everything).await;

    assert_eq!(cluster.post(MAPS, &config_map("a", &json!({}))).await.code, 201);
    let mut labelled = config_map("b", &json!({}));
    labelled["metadata"]["labels"] = json!({"watched": "yes"});
    assert_eq!(cluster.post(&format!("{MAPS}?dryRun=All"), &labelled).await.code, 418);
    assert_eq!(hooks.seen.lock()[0].1["dryRun"], true);
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"watched": "yes"}}});
    assert_eq!(cluster.post("/api/v1/namespaces", &other).await.code, 201);
    assert_eq!(cluster.post("/api/v1/namespaces/n/configmaps", &config_map("a", &json!({}))).await.code, 418);
    assert_eq!(hooks.paths(), ["/object", "/namespace"]);
    assert_eq!(cluster.delete(&format!("{GROUP}/validatingwebhookconfigurations/itself")).await.code, 200, "none can defend itself");
}

#[tokio::test]
async fn what_cannot_be_called_refuses_or_is_passed_over() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|path, _| (path != "/silent").then(|| json!({"allowed": true}))).await;
    for (name, path, policy, code) in [("closed", "/silent", "Fail", 500), ("open", "/silent", "Ignore", 201)] {
        let one_second = json!({"failurePolicy": policy, "timeoutSeconds": 1});
        validating(&cluster, name, hooks.client(path), one_second).await;
        let answer = cluster.post(MAPS, &config_map(name, &json!({}))).await;
        assert_eq!(answer.code, code, "{}", answer.body);
        if code == 500 {
            let url = format!("https://localhost:{}/silent?timeout=1s", hooks.address.port());
            let text = format!(
                "Internal error occurred: failed calling webhook \"closed.example.com\": failed to call webhook: Post \"{url}\": context deadline exceeded"
            );
            assert_eq!(answer.body["message"], text);
        }
        cluster.delete(&format!("{GROUP}/validatingwebhookconfigurations/{name}")).await;
    }
    let unknown = json!({"url": format!("https://localhost:{}/", hooks.address.port())});
    validating(&cluster, "distrusted", unknown, json!({})).await;
    let refused = cluster.post(MAPS, &config_map("c", &json!({}))).await;
    assert_eq!(refused.code, 500);
    assert!(refused.body["message"].as_str().unwrap().contains("failed to verify certificate"), "{}", refused.body);
}

/// Connects to one address, whatever is asked for, and notes what was.
struct Dialer(SocketAddr, Arc<Mutex<Vec<(IpAddr, u16)>>>);

#[async_trait]
impl NodeDialer for Dialer {
    async fn dial(&self, address: IpAddr, port: u16) -> Result<Box<dyn Duplex>, Status> {
        self.1.lock().push((address, port));
        tokio::net::TcpStream::connect(self.0).await.map(|stream| Box::new(stream) as Box<dyn Duplex>).map_err(Status::internal)
    }
}

#[tokio::test]
async fn a_webhook_in_the_cluster_is_reached_at_its_pod() {
    let hooks =
        Hooks::start(|_, asked| Some(if asked["subResource"] == "attach" { deny("hands off") } else { json!({"allowed": true}) })).await;
    let dialled = Arc::new(Mutex::default());
    let cluster = Cluster::with_dialer(Options::default(), Arc::new(Dialer(hooks.address, dialled.clone()))).await;
    let client = json!({"service": {"namespace": "default", "name": "hook", "path": "/in"}, "caBundle": hooks.bundle});
    let rules = json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "CONNECT"], "resources": ["configmaps", "pods/attach"]}]});
    assert_eq!(cluster.post(PODS, &pod("p")).await.code, 201);
    validating(&cluster, "in", client, rules).await;
    let missing = cluster.post(MAPS, &config_map("a", &json!({}))).await;
    assert!(
        missing.body["message"]
            .as_str()
            .unwrap()
            .ends_with(r#"Post "https://hook.default.svc:443/in?timeout=10s": service "hook" not found"#)
    );

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 443, "targetPort": 9443}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/services", &service).await.code, 201);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "ports": [{"name": "", "port": 9443}],
        "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": true}}]});
    let made = cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(cluster.post(MAPS, &config_map("a", &json!({}))).await.code, 201);
    assert_eq!(cluster.post(MAPS, &config_map("b", &json!({}))).await.code, 201);
    assert_eq!(*dialled.lock(), [("10.244.0.9".parse().unwrap(), 9443)], "the connection is kept");

    let attached = cluster.get(&format!("{PODS}/p/attach?container=c&stdin=true")).await;
    assert_eq!(attached.body["message"], r#"admission webhook "in.example.com" denied the request: hands off"#);
    let asked = hooks.seen.lock().last().unwrap().1.clone();
    assert_eq!(asked["object"], json!({"apiVersion": "v1", "kind": "PodAttachOptions", "stdin": true, "container": "c"}));
    assert_eq!((&asked["operation"], &asked["name"], &asked["oldObject"]), (&json!("CONNECT"), &json!("p"), &Value::Null));
}

#[tokio::test]
async fn webhooks_are_told_the_kind_they_ask_for() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, _| Some(json!({"allowed": true}))).await;
    let rule = |resource: &str| json!({"rules": [{"apiGroups": ["autoscaling", "apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": [resource]}]});
    validating(&cluster, "a", hooks.client("/scaler"), rule("horizontalpodautoscalers")).await;
    validating(&cluster, "b", hooks.client("/scale"), rule("deployments/scale")).await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let made = cluster.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", &scaler).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let asked = hooks.seen.lock()[0].1.clone();
    assert_eq!((&asked["kind"]["version"], &asked["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(
        (&asked["object"]["apiVersion"], &asked["object"]["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(50))
    );

    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(cluster.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await.code, 201);
    let path = "/apis/apps/v1/namespaces/default/deployments/d/scale";
    assert_eq!(cluster.patch(path, MERGE, &json!({"spec": {"replicas": 4}})).await.code, 200);
    let asked = hooks.seen.lock().last().unwrap().1.clone();
    assert_eq!(asked["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&asked["object"]["spec"]["replicas"], &asked["oldObject"]["spec"]["replicas"]), (&json!(4), &json!(1)));
    assert_eq!((&asked["resource"]["resource"], &asked["subResource"]), (&json!("deployments"), &json!("scale")));
}
