#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::amounts;

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

#[rstest]
#[case("count/deployments.apps", Some(("apps", "deployments")))]
#[case("count/pods", Some(("", "pods")))]
#[case("secrets", Some(("", "secrets")))]
#[case("services.nodeports", Some(("", "services")))]
#[case("gold.storageclass.storage.k8s.io/requests.storage", Some(("", "persistentvolumeclaims")))]
#[case("gpu.deviceclass.resource.k8s.io/devices", Some(("resource.k8s.io", "resourceclaims")))]
#[case("requests.example.com/gpu", Some(("", "pods")))]
#[case("hugepages-2Mi", Some(("", "pods")))]
#[case("example.com/gpu", None)]
fn names_count_objects_of_one_resource(#[case] name: &str, #[case] resource: Option<(&str, &str)>) {
    assert_eq!(counts(name), resource);
}

fn pod(changes: Value) -> Value {
    let resources = json!({"requests": {"cpu": "1", "example.com/gpu": "2"}, "limits": {"memory": "1Gi", "cpu": "2"}});
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}});
    crate::patch::merge(&mut pod, &changes);
    pod
}

const WHOLE: &str = "count/pods=1,cpu=1,limits.cpu=2,limits.memory=1Gi,pods=1,requests.cpu=1,requests.example.com/gpu=2";

#[rstest]
#[case(json!({}), WHOLE)]
#[case(json!({"status": {"phase": "Running"}}), WHOLE)]
#[case(json!({"status": {"phase": "Failed"}}), "count/pods=1")]
#[case(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}), "count/pods=1")]
#[case(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:50Z", "deletionGracePeriodSeconds": 30}}), WHOLE)]
fn pods_use_while_they_live(#[case] changes: Value, #[case] expected: &str) {
    assert_eq!(amounts::list(&usage("", "pods", &pod(changes), now())), expected);
}

#[rstest]
#[case(json!({"type": "ClusterIP", "ports": [{}]}), 0, 0)]
#[case(json!({"type": "NodePort", "ports": [{}, {}]}), 2, 0)]
#[case(json!({"type": "LoadBalancer", "ports": [{}, {}]}), 2, 1)]
#[case(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{}, {"nodePort": 30000}]}), 1, 1)]
fn services_use_ports_and_balancers(#[case] spec: Value, #[case] ports: u8, #[case] balancers: u8) {
    assert_eq!(
        amounts::list(&usage("", "services", &json!({"spec": spec}), now())),
        format!("count/services=1,services=1,services.loadbalancers={balancers},services.nodeports={ports}")
    );
}

#[test]
fn claims_and_devices_count_by_class() {
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"allocatedResources": {"storage": "2Gi"}}});
    assert_eq!(
        amounts::list(&usage("", "persistentvolumeclaims", &claim, now())),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi"
    );
    let devices = json!({"spec": {"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": "g", "allocationMode": "ExactCount", "count": 2}},
        {"name": "b", "exactly": {"deviceClassName": "g", "allocationMode": "All"}},
        {"name": "c", "firstAvailable": [{"deviceClassName": "h", "count": 1}, {"deviceClassName": "h", "count": 3}]}]}}});
    assert_eq!(
        amounts::list(&usage("resource.k8s.io", "resourceclaims", &devices, now())),
        "count/resourceclaims.resource.k8s.io=1,g.deviceclass.resource.k8s.io/devices=34,h.deviceclass.resource.k8s.io/devices=3"
    );
}

#[test]
fn what_is_counted_must_be_said() {
    let pod = json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "resources": {"limits": {"cpu": "1"}}}], "initContainers": [{"name": "i"}]}});
    let names = ["limits.cpu", "requests.memory", "pods", "ephemeral-storage"];
    assert_eq!(missing("", "pods", names.into_iter(), &pod).unwrap(), "must specify limits.cpu for: b,i; requests.memory for: a,b,i");
    assert_eq!(missing("", "services", names.into_iter(), &pod), None);
    let own = json!({"spec": {"containers": [{"name": "b"}], "resources": {"requests": {"cpu": "1"}}}});
    assert_eq!(missing("", "pods", names.into_iter(), &own), None);
}

#[rstest]
#[case(json!({}), true)]
#[case(json!({"scopes": ["BestEffort"]}), false)]
#[case(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), true)]
#[case(json!({"scopes": ["NotBestEffort", "Terminating"]}), false)]
#[case(json!({"scopes": ["PriorityClass"]}), true)]
#[case(json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}), true)]
#[case(json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}]}}), false)]
#[case(json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}), false)]
#[case(json!({"scopes": ["CrossNamespacePodAffinity"]}), false)]
fn scopes_say_which_pods(#[case] spec: Value, #[case] expected: bool) {
    let pod = pod(json!({"spec": {"priorityClassName": "high"}}));
    assert_eq!(covers(&json!({"spec": spec}), &json!({"pods": "1"}), "", "pods", &pod), expected);
    assert!(!covers(&json!({"spec": spec}), &json!({"services": "1"}), "", "pods", &pod), "it counts something else");
}

#[test]
fn a_quota_with_scopes_is_about_no_other_kinds() {
    let quota = json!({"spec": {"scopes": ["NotTerminating"]}});
    assert!(!covers(&quota, &json!({"services": "1"}), "", "services", &json!({})));
    let affine = |term: Value| json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    let crossing = json!({"spec": {"scopes": ["CrossNamespacePodAffinity"]}});
    for (term, expected) in [(json!({"namespaces": ["a"]}), true), (json!({"namespaceSelector": {}}), true), (json!({}), false)] {
        assert_eq!(covers(&crossing, &json!({"pods": "1"}), "", "pods", &affine(term)), expected);
    }
}
