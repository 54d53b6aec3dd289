//! Rows about ResourceQuota and LimitRange.

use serde_json::{Value, json};

use super::super::here::{Here, MERGE, STRATEGIC, row};

fn hard() -> Value {
    json!({"pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.example.com/dongle": "3", "services": "10",
        "services.nodeports": "1", "services.loadbalancers": "1", "replicationcontrollers": "10", "resourcequotas": "1", "configmaps": "20",
        "secrets": "20", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "count/replicasets.apps": "5"})
}

async fn quota(here: &Here, name: &str, spec: Value) -> String {
    // every namespace gets it, and a quota counts it
    here.until_object("the namespace has its certificate", &here.path("v1", "configmaps/kube-root-ca.crt"), |_| true).await;
    let quotas = here.path("v1", "resourcequotas");
    here.post(&quotas, &json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})).await.ok();
    let path = format!("{quotas}/{name}");
    let names = |object: &Value| object.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    here.until_object("the quota is counted", &path, |quota| names(&quota["status"]["used"]) == names(&quota["spec"]["hard"])).await;
    path
}

async fn used(here: &Here, quota: &str) -> Value {
    here.get(quota).await.ok()["status"]["used"].clone()
}

async fn until_used(here: &Here, quota: &str, wanted: &Value) {
    here.until_object(&format!("used is {wanted}"), quota, |quota| {
        wanted.as_object().unwrap().iter().all(|(name, amount)| quota["status"]["used"][name] == *amount)
    })
    .await;
}

/// A pod that no node takes.
pub(super) fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeSelector": {"no": "node"},
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none.example.com/none", "resources": resources}]}})
}

fn compute(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi"}, "limits": {"cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi"}})
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller. [Conformance]
#[test]
fn a_quota_follows_the_lives_of_what_it_counts() {
    row("quota lives", &[], async |here| {
        let quota = quota(here, "all", json!({"hard": hard()})).await;
        let start = used(here, &quota).await;
        assert_eq!((&start["resourcequotas"], &start["pods"]), (&json!("1"), &json!("0")));
        let workload = |version: &str, kind: &str, selector: Value| {
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {"replicas": 0, "selector": selector,
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        };
        let ports = json!([{"port": 80, "name": "a"}]);
        let table = [
            ("v1", "configmaps", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), vec!["configmaps"]),
            ("v1", "secrets", json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}), vec!["secrets"]),
            (
                "v1",
                "services",
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": ports}}),
                vec!["services", "services.nodeports"],
            ),
            ("v1", "replicationcontrollers", workload("v1", "ReplicationController", json!({"a": "b"})), vec!["replicationcontrollers"]),
            (
                "apps/v1",
                "replicasets",
                workload("apps/v1", "ReplicaSet", json!({"matchLabels": {"a": "b"}})),
                vec!["count/replicasets.apps"],
            ),
        ];
        for (version, plural, object, counted) in table {
            let path = here.path(version, plural);
            here.post(&path, &object).await.ok();
            let now = used(here, &quota).await;
            for name in &counted {
                let number = |used: &Value| used[*name].as_str().unwrap().parse::<u32>().unwrap();
                assert_eq!(number(&now), number(&start) + 1, "{name}");
            }
            if plural == "services" {
                let mut second = object.clone();
                second["metadata"]["name"] = json!("b");
                let refused = here.post(&path, &second).await.failed(403, "Forbidden");
                let wanted =
                    "exceeded quota: all, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
                assert!(refused.ends_with(wanted), "{refused}");
            }
            here.delete(&format!("{path}/a")).await.ok();
            until_used(here, &quota, &start).await;
        }
    });
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]
#[test]
fn a_quota_follows_a_pods_life() {
    row("quota pods", &[], async |here| {
        let quota = quota(here, "all", json!({"hard": hard()})).await;
        let pods = here.path("v1", "pods");
        let mut resources = compute("500m", "252Mi");
        for list in ["requests", "limits"] {
            resources[list]["example.com/dongle"] = json!("2");
        }
        here.post(&pods, &pod("a", resources.clone())).await.ok();
        let wanted =
            json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "requests.example.com/dongle": "2"});
        until_used(here, &quota, &wanted).await;
        here.post(&pods, &pod("b", compute("600m", "100Mi"))).await.failed(403, "Forbidden");
        let refused = here
            .post(
                &pods,
                &pod(
                    "b",
                    json!({"requests": {"cpu": "100m", "memory": "1Mi", "ephemeral-storage": "1Gi", "example.com/dongle": "2"},
            "limits": {"example.com/dongle": "2"}}),
                ),
            )
            .await
            .failed(403, "Forbidden");
        assert!(refused.contains("exceeded quota: all, requested: requests.example.com/dongle=2"), "{refused}");
        let change = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}});
        let changed = here.patch(&format!("{pods}/a"), STRATEGIC, &change).await;
        assert_eq!(changed.code, 422, "{}", changed.said());
        until_used(here, &quota, &wanted).await;
        here.delete(&format!("{pods}/a")).await.ok();
        until_used(here, &quota, &json!({"pods": "0", "cpu": "0", "memory": "0", "requests.example.com/dongle": "0"})).await;
    });
}

/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]
/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]
#[test]
fn quotas_keep_to_their_scopes() {
    row("quota scopes", &[], async |here| {
        let pods = here.path("v1", "pods");
        for (one, other, mine, others) in [
            ("BestEffort", "NotBestEffort", pod("one", json!({})), pod("other", compute("100m", "10Mi"))),
            ("Terminating", "NotTerminating", pod("one", compute("100m", "10Mi")), pod("other", compute("100m", "10Mi"))),
        ] {
            let mut mine = mine;
            if one == "Terminating" {
                mine["spec"]["activeDeadlineSeconds"] = json!(3600);
            }
            let (first, second) = (one.to_lowercase(), other.to_lowercase());
            let first = quota(here, &first, json!({"hard": {"pods": "5"}, "scopes": [one]})).await;
            let second = quota(here, &second, json!({"hard": {"pods": "5"}, "scopes": [other]})).await;
            for (object, name, in_first) in [(mine, "one", true), (others, "other", false)] {
                here.post(&pods, &object).await.ok();
                let (full, empty) = if in_first { (&first, &second) } else { (&second, &first) };
                assert_eq!((used(here, full).await["pods"].as_str(), used(here, empty).await["pods"].as_str()), (Some("1"), Some("0")));
                here.delete(&format!("{pods}/{name}")).await.ok();
                until_used(here, full, &json!({"pods": "0"})).await;
            }
            for quota in [first, second] {
                here.delete(&quota).await.ok();
            }
        }
    });
}

/// [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]
/// [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]
/// [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]
#[test]
fn quotas_are_changed_and_go() {
    row("quota changes", &[], async |here| {
        let path = quota(here, "q", json!({"hard": {"cpu": "1", "memory": "500Mi"}})).await;
        let mut object = here.get(&path).await.ok();
        object["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"});
        assert_eq!(here.put(&path, &object).await.ok()["spec"]["hard"]["cpu"], "2");
        here.until_object("the status follows", &path, |quota| quota["status"]["hard"] == json!({"cpu": "2", "memory": "1Gi"})).await;
        let status = format!("{path}/status");
        let changed = here
            .patch(&status, MERGE, &json!({"status": {"hard": {"cpu": "1", "memory": "400Mi"}}, "spec": {"hard": {"cpu": "9"}}}))
            .await
            .ok();
        assert_eq!((&changed["status"]["hard"]["memory"], &changed["spec"]["hard"]["cpu"]), (&json!("400Mi"), &json!("2")));
        assert_eq!(here.get(&status).await.ok()["status"]["hard"]["memory"], "400Mi");
        let patched =
            here.patch(&path, MERGE, &json!({"metadata": {"labels": {"quota": "mine"}}, "spec": {"hard": {"memory": "750Mi"}}})).await.ok();
        assert_eq!(patched["spec"]["hard"]["memory"], "750Mi");
        here.until_object("the status follows", &path, |quota| quota["status"]["hard"]["memory"] == "750Mi").await;
        let everywhere = here.get("/api/v1/resourcequotas?labelSelector=quota%3Dmine").await.ok();
        assert!(everywhere["items"].as_array().unwrap().iter().any(|one| one["metadata"]["namespace"] == json!(here.namespace)));
        here.delete(&format!("{}?labelSelector=quota%3Dmine", here.path("v1", "resourcequotas"))).await.ok();
        here.until_gone(&path).await;
    });
}

/// [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]
#[test]
fn a_limit_range_gives_pods_what_they_leave_open() {
    row("limit range", &[], async |here| {
        let ranges = here.path("v1", "limitranges");
        let limits = json!([{"type": "Container", "min": {"cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi"},
            "max": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"}, "default": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}}]);
        let mut watch = here.watch(&ranges).await;
        let made = here
            .post(&ranges, &json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}}))
            .await
            .ok();
        watch.until("ADDED", |range| range["metadata"]["name"] == "l").await;
        assert_eq!(made["spec"]["limits"], limits);
        let pods = here.path("v1", "pods");
        let made = here.post(&pods, &pod("open", json!({}))).await.ok();
        assert_eq!(
            made["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}, "limits": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"}})
        );
        let partly = json!({"requests": {"cpu": "300m", "memory": "150Mi"}, "limits": {"cpu": "300m", "ephemeral-storage": "300Gi"}});
        let made = here.post(&pods, &pod("partly", partly)).await.ok();
        assert_eq!(
            made["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "300m", "memory": "150Mi", "ephemeral-storage": "300Gi"}, "limits": {"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "300Gi"}})
        );
        here.post(&pods, &pod("small", json!({"requests": {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}})))
            .await
            .failed(403, "Forbidden");
        let large =
            here.post(&pods, &pod("large", json!({"requests": {"cpu": "600m", "memory": "600Mi", "ephemeral-storage": "600Gi"}}))).await;
        assert!(large.code == 403 || large.code == 422, "{}", large.said());
        let lower = json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"}, "max": limits[0]["max"],
            "default": limits[0]["default"], "defaultRequest": limits[0]["defaultRequest"]}]}});
        here.patch(&format!("{ranges}/l"), MERGE, &lower).await.ok();
        here.post(&pods, &pod("small", json!({"requests": {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}}))).await.ok();
        here.delete(&format!("{ranges}/l")).await.ok();
        here.until_gone(&format!("{ranges}/l")).await;
        here.post(&pods, &pod("large", json!({"requests": {"cpu": "600m"}}))).await.ok();
    });
}

/// [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]
#[test]
fn limit_ranges_are_listed_everywhere_and_deleted_here() {
    row("limit range collection", &[], async |here| {
        let other = format!("{}-other", here.namespace);
        here.make_namespace(&other, json!({})).await;
        let label = here.namespace.clone();
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "labels": {"l": label}},
            "spec": {"limits": [{"type": "Container", "min": {"cpu": "50m"}}]}});
        let (mine, theirs) = (here.path("v1", "limitranges"), format!("/api/v1/namespaces/{other}/limitranges"));
        for path in [&mine, &theirs] {
            here.post(path, &range).await.ok();
        }
        let everywhere = format!("/api/v1/limitranges?labelSelector=l%3D{label}");
        assert_eq!(here.get(&everywhere).await.ok()["items"].as_array().unwrap().len(), 2);
        let patched = here
            .patch(
                &format!("{mine}/l"),
                STRATEGIC,
                &json!({"metadata": {"labels": {"x": "patched"}}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "40m"}}]}}),
            )
            .await
            .ok();
        assert_eq!((&patched["metadata"]["labels"]["x"], &patched["spec"]["limits"][0]["min"]["cpu"]), (&json!("patched"), &json!("40m")));
        here.delete(&format!("{mine}?labelSelector=x%3Dpatched")).await.ok();
        let left = here.get(&everywhere).await.ok();
        assert_eq!(left["items"].as_array().unwrap().len(), 1);
        assert_eq!(left["items"][0]["metadata"]["namespace"], json!(other));
    });
}
