//! Rows of `[sig-scheduling]`.

use serde_json::{Value, json};

use super::harness::Need;
use super::here::{Here, MERGE, row, row_alone};
use super::operations;

fn pod(name: &str, extra: &Value) -> Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "coracle.local/kubia:1.0", "command": ["sh", "-c", "sleep 3600"]}]});
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A pod that asks for some of the node's own resource, which only the tests have.
fn sized(name: &str, amount: &str, resource: &str, extra: &Value) -> Value {
    let mut pod = pod(name, extra);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {resource: amount}, "limits": {resource: amount}});
    pod
}

async fn create(here: &Here, pod: &Value) -> String {
    here.post(&here.path("v1", "pods"), pod).await.ok();
    here.path("v1", &format!("pods/{}", pod["metadata"]["name"].as_str().unwrap()))
}

async fn until_bound(here: &Here, path: &str) -> String {
    let bound = here.until_object("the pod is bound", path, |pod| pod["spec"]["nodeName"].is_string()).await;
    bound["spec"]["nodeName"].as_str().unwrap().to_owned()
}

/// Waits until the scheduler said that no node will do.
async fn until_unschedulable(here: &Here, path: &str) -> String {
    let said = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        let known = conditions.into_iter().flatten().find(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable");
        known.and_then(|one| one["message"].as_str().map(str::to_owned))
    };
    let pod = here.until_object("no node will do", path, |pod| said(pod).is_some()).await;
    said(&pod).unwrap()
}

async fn first_node(here: &Here) -> String {
    operations::names(&here.get("/api/v1/nodes").await.ok()).remove(0)
}

/// Gives a node ten of a resource named after the test.
async fn give(here: &Here, node: &str) -> String {
    let resource = format!("example.com/{}", here.namespace);
    let status = json!({"status": {"capacity": {resource.as_str(): "10"}, "allocatable": {resource.as_str(): "10"}}});
    here.patch(&format!("/api/v1/nodes/{node}/status"), MERGE, &status).await.ok();
    resource
}

async fn take_back(here: &Here, node: &str, resource: &str) {
    let status = json!({"status": {"capacity": {resource: null}, "allocatable": {resource: null}}});
    here.patch(&format!("/api/v1/nodes/{node}/status"), MERGE, &status).await.ok();
}

async fn priority_class(here: &Here, name: &str, value: i32) -> String {
    let name = format!("{}-{name}", here.namespace);
    here.post("/apis/scheduling.k8s.io/v1/priorityclasses", &json!({"metadata": {"name": name}, "value": value})).await.ok();
    here.remove_later(format!("/apis/scheduling.k8s.io/v1/priorityclasses/{name}"));
    name
}

/// [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]
#[test]
fn a_limit_range_fills_in() {
    row("limit range defaults", &[], async |here| {
        let limits = json!({"metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container",
            "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
            "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]}});
        let ranges = here.path("v1", "limitranges");
        let mut watch = here.watch(&ranges).await;
        here.post(&ranges, &limits).await.ok();
        watch.until("ADDED", |range| range["metadata"]["name"] == "limits").await;
        let made = here.post(&here.path("v1", "pods"), &pod("plain", &json!({}))).await.ok();
        let expected = json!({"limits": {"cpu": "500m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}});
        assert_eq!(made["spec"]["containers"][0]["resources"], expected);
        for (name, amount) in [("small", "10m"), ("large", "600m")] {
            let answer = here.post(&here.path("v1", "pods"), &sized(name, amount, "cpu", &json!({}))).await;
            answer.failed(403, "Forbidden");
        }
        let lower = json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "5m", "memory": "1Mi"}, "max": {"cpu": "500m", "memory": "500Mi"}}]}});
        here.patch(&format!("{ranges}/limits"), MERGE, &lower).await.ok();
        let small = || sized("small", "10m", "cpu", &json!({}));
        here.until("the lower limit holds", async || here.post(&here.path("v1", "pods"), &small()).await.try_ok()).await;
        here.delete(&format!("{ranges}/limits")).await.ok();
        watch.until("DELETED", |range| range["metadata"]["name"] == "limits").await;
    });
}

/// [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]
#[test]
fn limit_ranges_are_deleted_by_namespace() {
    row("limit range collection", &[], async |here| {
        let other = format!("{}-other", here.namespace);
        here.make_namespace(&other, json!({})).await;
        let range = json!({"metadata": {"name": "limits", "labels": {"e2e": here.namespace}}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
        let ranges = here.path("v1", "limitranges");
        here.post(&ranges, &range).await.ok();
        here.post(&format!("/api/v1/namespaces/{other}/limitranges"), &range).await.ok();
        let selected = format!("labelSelector=e2e%3D{}", here.namespace);
        let everywhere = || async { here.get(&format!("/api/v1/limitranges?{selected}")).await.ok()["items"].as_array().unwrap().len() };
        assert_eq!(everywhere().await, 2);
        let patched = here.patch(&format!("{ranges}/limits"), MERGE, &json!({"metadata": {"labels": {"test": "patched"}}})).await.ok();
        assert_eq!(patched["metadata"]["labels"]["test"], "patched");
        here.delete(&format!("{ranges}?{selected}")).await.ok();
        assert_eq!(everywhere().await, 1);
    });
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run [Conformance]
#[test]
fn requests_beyond_capacity_wait() {
    row_alone("predicates resources", &[Need::Native], async |here| {
        let node = first_node(here).await;
        let resource = give(here, &node).await;
        let first = create(here, &sized("first", "7", &resource, &json!({}))).await;
        assert_eq!(until_bound(here, &first).await, node);
        let second = create(here, &sized("second", "4", &resource, &json!({}))).await;
        let message = until_unschedulable(here, &second).await;
        assert!(message.starts_with(&format!("0/2 nodes are available: 2 Insufficient {resource}.")), "{message}");
        here.delete(&first).await.ok();
        assert_eq!(until_bound(here, &second).await, node);
        here.delete(&second).await.ok();
        here.until_gone(&second).await;
        take_back(here, &node, &resource).await;
    });
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching [Conformance]
/// [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching [Conformance]
#[test]
fn a_node_selector_is_respected() {
    row("predicates selector", &[Need::Native], async |here| {
        let node = first_node(here).await;
        let label = format!("example.com/{}", here.namespace);
        let path = create(here, &pod("picky", &json!({"nodeSelector": {label.as_str(): "42"}}))).await;
        let message = until_unschedulable(here, &path).await;
        assert!(message.starts_with("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."), "{message}");
        let labelled = |value: Value| json!({"metadata": {"labels": {label.as_str(): value}}});
        here.patch(&format!("/api/v1/nodes/{node}"), MERGE, &labelled(json!("42"))).await.ok();
        assert_eq!(until_bound(here, &path).await, node);
        here.patch(&format!("/api/v1/nodes/{node}"), MERGE, &labelled(Value::Null)).await.ok();
    });
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]
#[test]
fn a_port_of_all_addresses_collides() {
    row("predicates ports", &[Need::Native], async |here| {
        let node = first_node(here).await;
        let with_port = |name: &str, ip: &str| {
            let mut pod = pod(name, &json!({"nodeSelector": {"kubernetes.io/hostname": node}}));
            pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 54322, "hostPort": 54322, "hostIP": ip, "protocol": "TCP"}]);
            pod
        };
        let first = create(here, &with_port("all", "0.0.0.0")).await;
        until_bound(here, &first).await;
        let second = create(here, &with_port("one", "127.0.0.1")).await;
        let message = until_unschedulable(here, &second).await;
        assert!(message.contains("1 node(s) didn't have free ports for the requested pod ports"), "{message}");
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works [Conformance]
/// [sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by critical pod [Conformance]
/// [sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to the preempted pod [Conformance]
#[test]
fn higher_priorities_make_room() {
    row_alone("preemption", &[Need::Native], async |here| {
        let node = first_node(here).await;
        let resource = give(here, &node).await;
        let (low, middle, high) =
            (priority_class(here, "low", 1).await, priority_class(here, "middle", 100).await, priority_class(here, "high", 1000).await);
        let of = |class: &str| json!({"priorityClassName": class});
        let mut victim = sized("victim", "6", &resource, &of(&low));
        victim["metadata"]["finalizers"] = json!(["example.com/test"]);
        let victim = create(here, &victim).await;
        let bystander = create(here, &sized("bystander", "4", &resource, &of(&middle))).await;
        until_bound(here, &victim).await;
        until_bound(here, &bystander).await;
        let winner = create(here, &sized("winner", "6", &resource, &of(&high))).await;
        let targeted = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|one| one["type"] == "DisruptionTarget" && one["reason"] == "PreemptionByScheduler")
        };
        here.until_object("the victim goes and says why", &victim, |pod| targeted(pod) && pod["metadata"]["deletionTimestamp"].is_string())
            .await;
        here.until_object("the winner has its node", &winner, |pod| {
            pod["status"]["nominatedNodeName"] == json!(node) || pod["spec"]["nodeName"] == json!(node)
        })
        .await;
        here.patch(&victim, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
        here.until_gone(&victim).await;
        assert_eq!(until_bound(here, &winner).await, node);
        assert!(here.get(&bystander).await.ok()["metadata"]["deletionTimestamp"].is_null());

        let critical = sized("critical", "10", &resource, &of("system-node-critical"));
        let critical = create(here, &critical).await;
        here.until_gone(&winner).await;
        here.until_gone(&bystander).await;
        assert_eq!(until_bound(here, &critical).await, node);
        here.delete(&critical).await.ok();
        here.until_gone(&critical).await;
        take_back(here, &node, &resource).await;
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption running path [Conformance]
#[test]
fn replica_sets_of_four_priorities_find_their_places() {
    row_alone("preemption of replica sets", &[Need::Native], async |here| {
        let node = first_node(here).await;
        let resource = give(here, &node).await;
        for (number, replicas, amount) in [(1, 5, "1"), (2, 4, "1"), (3, 4, "1"), (4, 1, "6")] {
            let class = priority_class(here, &format!("p{number}"), number * 10).await;
            let name = format!("rs-{number}");
            let mut template = sized(&name, amount, &resource, &json!({"priorityClassName": class}));
            template["metadata"] = json!({"labels": {"name": name}});
            let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"name": name}}, "template": template});
            here.post(&here.path("apps/v1", "replicasets"), &json!({"metadata": {"name": name}, "spec": spec})).await.ok();
            if number < 3 {
                let path = here.path("apps/v1", &format!("replicasets/{name}"));
                here.until_object("the set runs", &path, |set| set["status"]["readyReplicas"] == replicas).await;
            }
        }
        // Ten places: six for the highest, four for the next, none for the others.
        for (number, running) in [(4, 1), (3, 4), (2, 0), (1, 0)] {
            let path = here.path("apps/v1", &format!("replicasets/rs-{number}"));
            let ready = |set: &Value| set["status"]["readyReplicas"].as_i64().unwrap_or(0);
            here.until_object(&format!("rs-{number} has {running} ready"), &path, |set| ready(set) == running).await;
        }
        here.delete_with(&here.path("apps/v1", "replicasets"), &json!({"propagationPolicy": "Background"})).await.ok();
        here.until("its pods are gone", async || {
            let left = operations::names(&here.get(&here.path("v1", "pods")).await.ok());
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        take_back(here, &node, &resource).await;
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods [Conformance]
#[test]
fn a_priority_class_keeps_its_value() {
    row("priority class", &[], async |here| {
        let name = priority_class(here, "p1", 1).await;
        let path = format!("/apis/scheduling.k8s.io/v1/priorityclasses/{name}");
        let all = here.get("/apis/scheduling.k8s.io/v1/priorityclasses").await.ok();
        assert!(operations::names(&all).contains(&name));
        here.patch(&path, MERGE, &json!({"value": 2})).await.failed(422, "Invalid");
        assert_eq!(here.patch(&path, MERGE, &json!({"description": "patched"})).await.ok()["description"], "patched");
        let mut class = here.get(&path).await.ok();
        class["description"] = json!("updated");
        assert_eq!(here.put(&path, &class).await.ok()["description"], "updated");
        class["value"] = json!(3);
        class["metadata"]["resourceVersion"] = here.get(&path).await.ok()["metadata"]["resourceVersion"].clone();
        here.put(&path, &class).await.failed(422, "Invalid");
    });
}

/// [sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]
#[test]
fn two_nodes_take_pods() {
    row("two nodes", &[], async |here| {
        let takes_pods = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            ready && node["spec"]["taints"].is_null() && node["spec"]["unschedulable"] != true
        };
        here.until("two nodes take pods", async || {
            let nodes = here.get("/api/v1/nodes").await.ok();
            let free = nodes["items"].as_array().is_some_and(|all| all.iter().filter(|node| takes_pods(node)).count() >= 2);
            if free { Ok(()) } else { Err(nodes.to_string()) }
        })
        .await;
    });
}
