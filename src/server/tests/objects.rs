//! What happens to objects, as clients see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use harness::{Cluster, config_map, pod, secret};
use http::Request;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}}})
}

/// Writes of config maps since a revision; the server itself writes other things at any time.
fn written(cluster: &Cluster, since: u64) -> usize {
    cluster.store.events("/core/configmaps/default/", since).unwrap().len()
}

#[tokio::test]
async fn an_object_is_created_read_updated_and_deleted() {
    let cluster = Cluster::start().await;
    let created = cluster.post(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert_eq!(created.body["kind"], "ConfigMap");
    let metadata = &created.body["metadata"];
    assert!(metadata["uid"].is_string() && metadata["creationTimestamp"].is_string() && metadata["resourceVersion"] != "");
    assert_eq!(metadata["managedFields"][0]["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.body, created.body);

    let again = cluster.post(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!((again.code, again.body["reason"].as_str()), (409, Some("AlreadyExists")));

    let mut changed = created.body.clone();
    changed["data"]["k"] = json!("2");
    let updated = cluster.put(&format!("{MAPS}/a"), &changed).await;
    assert_eq!((updated.code, &updated.body["data"]["k"]), (200, &json!("2")));
    let stale = cluster.put(&format!("{MAPS}/a"), &changed).await;
    assert_eq!((stale.code, stale.body["reason"].as_str()), (409, Some("Conflict")));

    let revision = cluster.store.revision();
    let same = cluster.put(&format!("{MAPS}/a"), &updated.body).await;
    assert_eq!(same.body, updated.body, "an update that changes nothing writes nothing");
    assert_eq!(written(&cluster, revision), 0);

    let deleted = cluster.delete(&format!("{MAPS}/a")).await;
    assert_eq!((deleted.code, deleted.body["status"].as_str()), (200, Some("Success")));
    assert_eq!(deleted.body["details"]["uid"], metadata["uid"]);
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn names_are_generated_and_paths_are_checked() {
    let cluster = Cluster::start().await;
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}});
    let (one, two) = (cluster.post(MAPS, &generated).await, cluster.post(MAPS, &generated).await);
    assert!(one.body["metadata"]["name"].as_str().unwrap().starts_with("x-"));
    assert_ne!(one.body["metadata"]["name"], two.body["metadata"]["name"]);
    let mut other = config_map("b", &json!({}));
    other["metadata"]["namespace"] = json!("other");
    let mismatch = cluster.post(MAPS, &other).await;
    assert_eq!(mismatch.body["message"], "the namespace of the provided object does not match the namespace sent on the request");
    cluster.post(MAPS, &config_map("a", &json!({}))).await;
    let renamed = cluster.put(&format!("{MAPS}/a"), &config_map("b", &json!({}))).await;
    assert_eq!(renamed.body["message"], "the name of the object (b) does not match the name on the URL (a)");
    assert_eq!(cluster.post(&format!("{MAPS}/a"), &config_map("a", &json!({}))).await.code, 405);
    assert_eq!(cluster.get("/apis/none.example.com/v1").await.code, 404);
    assert_eq!(
        cluster.post("/api/v1/namespaces/none/configmaps", &config_map("a", &json!({}))).await.body["message"],
        "namespaces \"none\" not found"
    );
    let mut versioned = config_map("v", &json!({}));
    versioned["metadata"]["resourceVersion"] = json!("7");
    assert_eq!(cluster.post(MAPS, &versioned).await.code, 400);
}

#[tokio::test]
async fn patches_of_every_kind() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/web");
    assert_eq!(cluster.post(DEPLOYMENTS, &deployment("web")).await.code, 201);
    let merged = cluster.patch(&path, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!((merged.code, &merged.body["metadata"]["generation"]), (200, &json!(1)));
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "img:2"}]}}}});
    let strategic = cluster.patch(&path, "application/strategic-merge-patch+json", &strategic).await;
    assert_eq!(strategic.body["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
    assert_eq!(strategic.body["metadata"]["generation"], 2);
    let json_patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]);
    assert_eq!(cluster.patch(&path, "application/json-patch+json", &json_patch).await.body["spec"]["replicas"], 5);
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 1}]);
    assert_eq!(cluster.patch(&path, "application/json-patch+json", &failing).await.code, 422);
    assert_eq!(cluster.patch(&path, "text/plain", &json!({})).await.code, 415);
}

#[tokio::test]
async fn apply_creates_conflicts_and_is_forced() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a");
    let config = |value: &str| config_map("a", &json!({"k": value}));
    assert_eq!(cluster.patch(&path, APPLY, &config("1")).await.code, 422, "a manager is required");
    assert_eq!(cluster.patch(&format!("{path}?fieldManager=one"), APPLY, &config("1")).await.code, 201);
    let conflict = cluster.patch(&format!("{path}?fieldManager=two"), APPLY, &config("2")).await;
    assert_eq!((conflict.code, conflict.body["reason"].as_str()), (409, Some("Conflict")));
    let forced = cluster.patch(&format!("{path}?fieldManager=two&force=true"), APPLY, &config("2")).await;
    assert_eq!((forced.code, &forced.body["data"]["k"]), (200, &json!("2")));
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.store.revision();
    let made = cluster.post(&format!("{MAPS}?dryRun=All"), &config_map("a", &json!({}))).await;
    assert_eq!(made.code, 201);
    assert!(made.body["metadata"]["uid"].is_string() && made.body["metadata"].get("resourceVersion").is_none());
    assert_eq!(written(&cluster, before), 0);
    cluster.post(MAPS, &config_map("b", &json!({"k": "1"}))).await;
    let before = cluster.store.revision();
    let path = format!("{MAPS}/b?dryRun=All");
    assert_eq!(cluster.patch(&path, MERGE, &json!({"data": {"k": "2"}})).await.body["data"]["k"], "2");
    assert_eq!(cluster.delete(&path).await.code, 200);
    assert_eq!(written(&cluster, before), 0);
}

#[tokio::test]
async fn status_and_scale_are_parts() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/web");
    let mut made = cluster.post(DEPLOYMENTS, &deployment("web")).await.body;
    made["spec"]["replicas"] = json!(9);
    made["status"] = json!({"observedGeneration": 1, "replicas": 2});
    let status = cluster.put(&format!("{path}/status"), &made).await;
    assert_eq!((status.code, &status.body["spec"]["replicas"], &status.body["status"]["replicas"]), (200, &json!(2), &json!(2)));
    let scale = cluster.get(&format!("{path}/scale")).await;
    assert_eq!(scale.body["kind"], "Scale");
    assert_eq!(scale.body["status"], json!({"replicas": 2, "selector": "app=web"}));
    let scaled = cluster.patch(&format!("{path}/scale"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((scaled.code, &scaled.body["spec"]["replicas"]), (200, &json!(4)));
    let deployment = cluster.get(&path).await.body;
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]), (&json!(4), &json!(2)));
    assert_eq!(cluster.patch(&format!("{path}/scale"), MERGE, &json!({"spec": {"replicas": -1}})).await.code, 422);
}

#[tokio::test]
async fn pods_are_bound_evicted_and_read() {
    let cluster = Cluster::start().await;
    let made = cluster.post(PODS, &pod("p")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = cluster.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!(
        (bound.code, &bound.body),
        (201, &json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201}))
    );
    let again = cluster.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!(again.body["message"], "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"");
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.body["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(cluster.get(&format!("{PODS}/p/log")).await.body, "default/p on n: c\n");
    assert_eq!(cluster.get(&format!("{PODS}/p/log?container=zzz")).await.body["message"], "container zzz is not valid for pod p");
    assert_eq!(cluster.get(&format!("{PODS}/p/log?tailLines=-1")).await.code, 422);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(cluster.post(&format!("{PODS}/p/eviction"), &eviction).await.code, 201);
    let marked = cluster.get(&format!("{PODS}/p")).await.body;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let gone = cluster.ask(Request::delete(format!("{PODS}/p")), json!({"gracePeriodSeconds": 0}).to_string()).await;
    assert_eq!((gone.code, gone.body["kind"].as_str()), (200, Some("Pod")));
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let cluster = Cluster::start().await;
    let mut map = config_map("a", &json!({}));
    map["metadata"]["finalizers"] = json!(["x.io/f"]);
    cluster.post(MAPS, &map).await;
    let path = format!("{MAPS}/a");
    let marked = cluster.delete(&path).await;
    assert_eq!((marked.code, &marked.body["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    let last = cluster.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(last.code, 200);
    assert_eq!(cluster.get(&path).await.code, 404);

    cluster.post(DEPLOYMENTS, &deployment("web")).await;
    let held = cluster.delete(&format!("{DEPLOYMENTS}/web?propagationPolicy=Foreground")).await;
    assert_eq!(held.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let wrong = json!({"preconditions": {"uid": "other"}}).to_string();
    assert_eq!(cluster.ask(Request::delete(format!("{DEPLOYMENTS}/web")), wrong).await.code, 409);
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_finalized() {
    let cluster = Cluster::start().await;
    let made = cluster.post("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})).await;
    assert_eq!(made.body["spec"]["finalizers"], json!(["kubernetes"]), "{}", made.body);
    let marked = cluster.delete("/api/v1/namespaces/n").await;
    assert_eq!((marked.code, &marked.body["status"]["phase"]), (200, &json!("Terminating")));
    let refused = cluster.post("/api/v1/namespaces/n/configmaps", &config_map("a", &json!({}))).await;
    assert_eq!(refused.code, 403);
    let mut done = cluster.get("/api/v1/namespaces/n").await.body;
    done["spec"]["finalizers"] = json!([]);
    assert_eq!(cluster.put("/api/v1/namespaces/n/finalize", &done).await.code, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn collections_are_deleted_by_label() {
    let cluster = Cluster::start().await;
    for (name, label) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let mut secret = secret(name);
        secret["metadata"]["labels"] = json!({"g": label});
        cluster.post("/api/v1/namespaces/default/secrets", &secret).await;
    }
    let deleted = cluster.delete("/api/v1/namespaces/default/secrets?labelSelector=g%3D1").await;
    assert_eq!((deleted.code, deleted.body["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(cluster.get("/api/v1/namespaces/default/secrets").await.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn leases_are_made_by_put_and_config_maps_are_not() {
    let cluster = Cluster::start().await;
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}});
    assert_eq!(cluster.put("/apis/coordination.k8s.io/v1/namespaces/default/leases/l", &lease).await.code, 201);
    assert_eq!(cluster.put(&format!("{MAPS}/a"), &config_map("a", &json!({}))).await.code, 404);
}

#[tokio::test]
async fn fields_are_validated_as_asked() {
    let cluster = Cluster::start().await;
    let mut odd = config_map("a", &json!({}));
    odd["bogus"] = json!(1);
    assert_eq!(cluster.post(&format!("{MAPS}?fieldValidation=Strict"), &odd).await.code, 400);
    let warned = cluster.post(&format!("{MAPS}?fieldValidation=Warn"), &odd).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers.get_all("warning").iter().collect::<Vec<_>>(), ["299 - \"unknown field \\\"bogus\\\"\""]);
    assert!(warned.body.get("bogus").is_none());
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\ndata:\n  k: v\n";
    let made = cluster.ask(Request::post(MAPS).header("content-type", "application/yaml"), yaml).await;
    assert_eq!((made.code, &made.body["data"]["k"]), (201, &json!("v")));
    assert_eq!(cluster.ask(Request::post(MAPS).header("content-type", "text/html"), yaml).await.code, 415);
    assert_eq!(cluster.get_as(MAPS, "text/html").await.code, 406);
    let huge = config_map("huge", &json!({"k": "x".repeat(4 << 20)}));
    assert_eq!(cluster.post(MAPS, &huge).await.code, 413);
}

#[tokio::test]
async fn events_are_one_in_two_groups() {
    let cluster = Cluster::start().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "message": "m", "type": "Warning"});
    assert_eq!(cluster.post("/api/v1/namespaces/default/events", &event).await.code, 201);
    let other = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.body;
    assert_eq!((&other["note"], &other["regarding"]["name"]), (&json!("m"), &json!("p")));
    let list = cluster.get("/apis/events.k8s.io/v1/events").await.body;
    assert_eq!((&list["kind"], &list["items"][0]["note"]), (&json!("EventList"), &json!("m")));
}

#[tokio::test]
async fn strangers_are_refused() {
    let cluster = Cluster::start().await;
    let stranger = |path: &str| Request::get(path).header("x-stranger", "1");
    assert_eq!(cluster.ask(stranger(MAPS), "").await.code, 401);
    assert_eq!(cluster.ask(stranger("/metrics"), "").await.code, 401);
    assert_eq!(cluster.ask(stranger("/version"), "").await.body["minor"], "36");
    assert_eq!(cluster.ask(stranger("/readyz"), "").await.body, "ok");
    let verbose = cluster.ask(stranger("/readyz?verbose"), "").await.body;
    assert!(verbose.as_str().unwrap().ends_with("readyz check passed\n"), "{verbose}");
    assert!(cluster.get("/metrics").await.body.as_str().unwrap().contains("apiserver_request_total{code=\"401\""));
}

const TYPE_META: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

#[tokio::test]
async fn bodies_that_are_something_else() {
    let cluster = Cluster::start().await;
    let unread = |why: &str| {
        format!("the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: {why}")
    };
    let refused = |why: &str| format!("cannot be handled as a ConfigMap: {why}");
    let list = format!("json: cannot unmarshal array into Go value of type {TYPE_META} (5b5d)");
    for (body, expected) in [
        ("hello", unread("invalid character 'h' looking for beginning of value (68656c6c6f)")),
        ("", unread("unexpected end of JSON input (<empty>)")),
        (
            r#"{"metadata": {"name": "a",}}"#,
            unread(r#"invalid character '}' looking for beginning of object key string ({"metadata": {"name": "a",}})"#),
        ),
        ("[]", unread(&list)),
        (r#"{"apiVersion": "v1", "kind": "Secret"}"#, refused("converting (v1.Secret) to (core.ConfigMap): unknown conversion")),
        (
            r#"{"apiVersion": "v1", "kind": "configmap"}"#,
            refused(r#"no kind "configmap" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#),
        ),
    ] {
        let answer = cluster.ask(Request::post(MAPS).header("content-type", "application/json"), body).await;
        assert_eq!(answer.code, 400, "{body}");
        assert!(answer.body["message"].as_str().unwrap().ends_with(&expected), "{body}: {} is not {expected}", answer.body["message"]);
    }
    let yaml = cluster.ask(Request::post(MAPS).header("content-type", "application/yaml"), "a: [").await;
    assert!(
        yaml.body["message"]
            .as_str()
            .unwrap()
            .starts_with("the object provided is unrecognized (must be of type ConfigMap): error converting YAML to JSON")
    );
}

#[tokio::test]
async fn writes_that_fit_nothing() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.post(MAPS, &config_map("a", &json!({"k": "1"}))).await.code, 201);
    let with = |field: &str, value: Value| {
        let mut map = config_map("a", &json!({}));
        map["metadata"][field] = value;
        map
    };
    let one = format!("{MAPS}/a");
    let apply = |name: &str| format!("{MAPS}/{name}?fieldManager=x");
    let typed = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let mut missing = with("uid", json!("q"));
    missing["metadata"]["name"] = json!("b");
    for (answer, code, expected) in [
        (cluster.put(MAPS, &config_map("a", &json!({}))).await, 405, "the server does not allow this method on the requested resource"),
        (cluster.patch(MAPS, MERGE, &json!({})).await, 405, "the server does not allow this method on the requested resource"),
        (cluster.put(&one, &with("uid", json!("q"))).await, 409, "Precondition failed: UID in precondition: q"),
        (
            cluster.patch(&one, MERGE, &json!({"metadata": {"uid": "q"}})).await,
            422,
            "metadata.uid: Invalid value: \"q\": field is immutable",
        ),
        (
            cluster.patch(&apply("b"), APPLY, &missing).await,
            409,
            "uid mismatch: the provided object specified uid q, and no existing object was found",
        ),
        (
            cluster.patch(&apply("a"), APPLY, &typed(json!({"k": 1}))).await,
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.k: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (cluster.patch(&apply("a"), APPLY, &typed(json!([1]))).await, 500, ".data: expected map, got &{[1]}"),
        (
            cluster.patch(&one, "application/json-patch+json", &json!({})).await,
            400,
            "cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
        (
            cluster.patch(&one, "application/json-patch+json", &json!([{"op": "no", "path": "/a"}])).await,
            422,
            "the server rejected our request due to an error in our request",
        ),
    ] {
        assert_eq!(answer.code, code, "{expected}: {}", answer.body);
        assert!(answer.body["message"].as_str().unwrap().contains(expected), "{} is not {expected}", answer.body["message"]);
    }
}

#[tokio::test]
async fn services_ask_for_addresses_that_are_there() {
    let cluster = Cluster::start().await;
    let made = async |spec: Value| {
        let mut service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "s"}, "spec": {"ports": [{"port": 80}]}});
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        let answer = cluster.post("/api/v1/namespaces/default/services", &service).await;
        (answer.code, answer.body["details"]["causes"][0]["message"].as_str().unwrap_or_default().to_owned())
    };
    let invalid = |text: &str| (422, format!("Invalid value: {text}"));
    assert_eq!(made(json!({"ipFamilies": ["IPv6"]})).await, invalid("\"IPv6\": not configured on this cluster"));
    let dual = made(json!({"ipFamilyPolicy": "RequireDualStack"})).await;
    assert_eq!(dual, invalid("\"RequireDualStack\": this cluster is not configured for dual-stack services"));
    assert_eq!(made(json!({"ipFamilyPolicy": "PreferDualStack"})).await.0, 201);
    assert_eq!(made(json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"})).await.0, 201);
}
