#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod refusals;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::kinds::{self, Kind};

fn kind(name: &str) -> &'static Kind {
    [
        "",
        "apps",
        "batch",
        "policy",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "scheduling.k8s.io",
        "autoscaling",
        "certificates.k8s.io",
        "apiregistration.k8s.io",
        "discovery.k8s.io",
    ]
    .iter()
    .find_map(|group| kinds::by_group_kind(group, name))
    .expect("a known kind")
}

/// A new object as the server makes it: metadata, defaults, preparation.
fn new(name: &str, mut object: Value) -> Value {
    let kind = kind(name);
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = json!("x");
    }
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("ns");
    }
    object["metadata"]["uid"] = json!("u");
    default(kind, &mut object);
    prepare_create(kind, &mut object);
    object
}

fn create_errors(name: &str, object: Value) -> Vec<String> {
    validate_create(kind(name), &new(name, object)).iter().map(ToString::to_string).collect()
}

/// What an update by `edit` leaves, and what is wrong with it.
fn edited(name: &str, object: Value, subresource: &str, edit: impl FnOnce(&mut Value)) -> (Value, Vec<String>) {
    let old = new(name, object);
    let mut new = old.clone();
    edit(&mut new);
    default(kind(name), &mut new);
    prepare_update(kind(name), &mut new, &old, subresource);
    let errors = validate_update(kind(name), &new, &old, subresource).iter().map(ToString::to_string).collect();
    (new, errors)
}

fn pod(spec: Value) -> Value {
    let mut body = json!({"containers": [{"name": "c", "image": "i"}]});
    body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"spec": body})
}

fn deployment() -> Value {
    json!({"spec": {"selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn service(spec: Value) -> Value {
    let mut body = json!({"ports": [{"port": 80}], "selector": {"app": "a"}});
    body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"spec": body})
}

#[rstest]
#[case(json!({}), &[])]
#[case(json!({"containers": [{"name": "C", "image": ""}]}), &["spec.containers[0].name: Invalid value: \"C\"", "spec.containers[0].image: Required value"])]
#[case(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}), &["spec.containers[1].name: Duplicate value: \"c\""])]
#[case(json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}), &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""])]
#[case(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}), &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"])]
#[case(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x/../y", "type": "Dir"}}]}), &["spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'", "spec.volumes[0].hostPath.type: Unsupported value: \"Dir\""])]
#[case(json!({"initContainers": [{"name": "i", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}}}]}), &["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"])]
#[case(json!({"initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 1}}}]}), &[])]
#[case(json!({"tolerations": [{"operator": "Exists", "tolerationSeconds": 3}]}), &["spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"])]
#[case(json!({"dnsPolicy": "None"}), &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is `None`"])]
#[case(json!({"securityContext": {"runAsUser": -1}}), &["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"])]
#[case(json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}), &["spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"])]
#[case(json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}]}),
    &["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label not supported: spec.x",
      "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"])]
#[case(json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"gpu": "1", "example.com/gpu": "1"}}}]}),
    &["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
      "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
      "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers"])]
#[case(json!({"containers": [{"name": "c", "image": "i", "readinessProbe": {"httpGet": {"port": "toolongforaportname"}}}]}), &["spec.containers[0].readinessProbe.httpGet.port: Invalid value: \"toolongforaportname\": must be no more than 15 characters"])]
#[case(json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}), &["spec.ephemeralContainers: Forbidden: cannot be set on create"])]
#[case(json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}), &["spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty"])]
fn pods(#[case] spec: Value, #[case] expected: &[&str]) {
    let errors = create_errors("Pod", pod(spec));
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(start), "{error}\nshould begin with\n{start}");
    }
}

#[rstest]
#[case(json!({"name": "A"}), "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain")]
#[case(json!({"name": "a", "labels": {"b/c/d": "e"}}), "metadata.labels: Invalid value: \"b/c/d\": a qualified name")]
#[case(json!({"name": "a", "annotations": {"k": "x".repeat(256 * 1024)}}), "metadata.annotations: Too long: may not be more than 262144 bytes")]
#[case(json!({"name": "a", "finalizers": ["mine"]}), "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified")]
#[case(json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}), "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty")]
#[case(json!({"name": "a", "generateName": "b-"}), "")]
#[case(json!({"name": "a", "generateName": "Bb-"}), "metadata.generateName: Invalid value: \"Bb-\"")]
fn metadata(#[case] meta: Value, #[case] expected: &str) {
    let errors = create_errors("ConfigMap", json!({"metadata": meta}));
    let first = errors.first().cloned().unwrap_or_default();
    assert!(first.starts_with(expected) && first.is_empty() == expected.is_empty(), "{errors:?}");
}

#[test]
fn generation_moves_with_the_desired_state_only() {
    let generation = |value: &Value| value["metadata"]["generation"].clone();
    assert_eq!(generation(&new("Deployment", deployment())), 1);
    let (same, _) = edited("Deployment", deployment(), "", |d| d["metadata"]["labels"] = json!({"a": "b"}));
    assert_eq!(generation(&same), 1);
    let (scaled, _) = edited("Deployment", deployment(), "", |d| d["spec"]["replicas"] = json!(3));
    assert_eq!(generation(&scaled), 2);
    let (annotated, _) = edited("Deployment", deployment(), "", |d| d["metadata"]["annotations"] = json!({"a": "b"}));
    assert_eq!(generation(&annotated), 2);
    let (forged, _) = edited("Deployment", deployment(), "", |d| d["metadata"]["generation"] = json!(9));
    assert_eq!(generation(&forged), 1);
}

#[test]
fn status_and_the_rest_have_separate_paths() {
    let (plain, _) = edited("Deployment", deployment(), "", |d| d["status"] = json!({"replicas": 9}));
    assert_eq!(plain["status"], json!({}));
    let (status, errors) = edited("Deployment", deployment(), "status", |d| {
        d["status"] = json!({"replicas": 1});
        d["spec"]["replicas"] = json!(9);
    });
    assert_eq!((&status["status"], &status["spec"]["replicas"], errors.len()), (&json!({"replicas": 1}), &json!(1), 0));
    let (_, errors) = edited("Deployment", deployment(), "status", |d| d["status"] = json!({"replicas": 1, "readyReplicas": 2}));
    assert_eq!(errors, ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]);
}

#[rstest]
#[case("Deployment", "/spec/selector/matchLabels", json!({"app": "b"}), "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`")]
#[case("Deployment", "/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}}), "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'")]
#[case("Deployment", "/spec/strategy", json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0")]
#[case("Deployment", "/spec/template/spec/restartPolicy", json!("Never"), "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"")]
#[case("ReplicaSet", "/spec/selector", json!({}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment")]
#[case("StatefulSet", "/spec/podManagementPolicy", json!("Wild"), "spec.podManagementPolicy: Unsupported value: \"Wild\"")]
#[case("DaemonSet", "/spec/updateStrategy", json!({"type": "Other"}), "spec.updateStrategy.type: Unsupported value: \"Other\"")]
#[case("Job", "/spec/completions", json!(-1), "spec.completions: Invalid value: -1: must be greater than or equal to 0")]
fn workloads(#[case] name: &str, #[case] at: &str, #[case] value: Value, #[case] expected: &str) {
    let mut object = deployment();
    if name == "Job" {
        object = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    }
    assert_eq!(create_errors(name, object.clone()), Vec::<String>::new());
    let (parent, key) = at.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    let errors = create_errors(name, object);
    assert!(errors.iter().any(|error| error.starts_with(expected)), "{errors:#?}");
}

#[test]
fn pods_of_a_stateful_set_mount_its_claims() {
    let mut object = deployment();
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let missing = "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"";
    assert_eq!(create_errors("StatefulSet", object.clone()), [missing]);
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    object["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": claim}]);
    assert_eq!(create_errors("StatefulSet", object), Vec::<String>::new());
}

#[rstest]
#[case("Deployment")]
#[case("ReplicaSet")]
#[case("DaemonSet")]
fn selectors_are_immutable(#[case] name: &str) {
    let (_, errors) = edited(name, deployment(), "", |d| {
        d["spec"]["selector"] = json!({"matchLabels": {"app": "b"}});
        d["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    });
    assert_eq!(errors, ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]);
}

#[test]
fn services_are_filled_by_type() {
    let plain = new("Service", service(json!({})))["spec"].clone();
    let expected = json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "a"}, "type": "ClusterIP",
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
    assert_eq!(plain, expected);
    let balancer = new("Service", service(json!({"type": "LoadBalancer"})))["spec"].clone();
    assert_eq!(balancer["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balancer["externalTrafficPolicy"], "Cluster");
    let headless = new("Service", json!({"spec": {"clusterIP": "None"}}))["spec"].clone();
    assert_eq!(headless["clusterIPs"], json!(["None"]));
    assert_eq!((&headless["ipFamilyPolicy"], &headless["ipFamilies"]), (&json!("RequireDualStack"), &json!(["IPv4", "IPv6"])));
    let external = new("Service", json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}))["spec"].clone();
    assert_eq!(external, json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}));
}

#[rstest]
#[case(json!({"ports": []}), "spec.ports: Required value")]
#[case(json!({"ports": [{"port": 80}, {"port": 81}]}), "spec.ports[0].name: Required value")]
#[case(json!({"ports": [{"port": 80, "nodePort": 30000}]}), "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'")]
#[case(json!({"type": "ExternalName"}), "spec.externalName: Required value")]
#[case(json!({"type": "Other"}), "spec.type: Unsupported value: \"Other\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"")]
#[case(json!({"type": "NodePort", "clusterIP": "None"}), "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services")]
#[case(json!({"clusterIP": "10.0.0"}), "spec.clusterIPs[0]: Invalid value: \"10.0.0\"")]
#[case(json!({"externalTrafficPolicy": "Local"}), "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services")]
fn services(#[case] spec: Value, #[case] expected: &str) {
    let errors = create_errors("Service", service(spec));
    assert!(errors.iter().any(|error| error.starts_with(expected)), "{errors:#?}");
}

#[test]
fn services_keep_what_was_allocated() {
    let allocated = service(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30001}]}));
    let (kept, errors) = edited("Service", allocated.clone(), "", |s| {
        s["spec"] = json!({"type": "NodePort", "ports": [{"port": 80}], "selector": {"app": "b"}});
    });
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(kept["spec"]["clusterIPs"], json!(["10.96.0.9"]));
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], 30001);
    let (plain, errors) = edited("Service", allocated.clone(), "", |s| s["spec"]["type"] = json!("ClusterIP"));
    assert_eq!((errors.len(), &plain["spec"]["ports"][0]["nodePort"]), (0, &Value::Null), "{errors:?}");
    let (_, errors) = edited("Service", allocated, "", |s| s["spec"]["clusterIP"] = json!("10.96.0.10"));
    assert_eq!(errors, ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set"]);
}

#[test]
fn pods_on_create_get_status_and_gates() {
    let plain = new("Pod", pod(json!({})));
    assert_eq!(plain["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let gated = new("Pod", pod(json!({"schedulingGates": [{"name": "g"}]})));
    assert_eq!(gated["status"]["conditions"][0]["reason"], "SchedulingGated");
    let (updated, _) = edited("Pod", pod(json!({})), "", |p| p["status"] = json!({"phase": "Running"}));
    assert_eq!(updated["status"]["phase"], "Pending");
    let (status, errors) = edited("Pod", pod(json!({})), "status", |p| p["status"] = json!({"phase": "Running"}));
    assert_eq!((&status["status"]["qosClass"], errors.len()), (&json!("BestEffort"), 0));
}

#[test]
fn label_keys_become_requirements() {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["v", "none"]});
    let mut object = pod(json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}));
    object["metadata"] = json!({"labels": {"v": "1"}});
    let term = &new("Pod", object)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(term["labelSelector"]["matchExpressions"], json!([{"key": "v", "operator": "In", "values": ["1"]}]));
}

#[test]
fn namespaces_have_their_finalizer_label_and_phase() {
    let object = new("Namespace", json!({}));
    assert_eq!(object["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(object["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "x"}));
    assert_eq!(object["status"], json!({"phase": "Active"}));
    let (ended, _) = edited("Namespace", json!({}), "finalize", |n| n["spec"]["finalizers"] = json!([]));
    assert_eq!(ended["spec"]["finalizers"], json!([]));
    let (kept, _) = edited("Namespace", json!({}), "", |n| n["spec"]["finalizers"] = json!([]));
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]));
}

#[test]
fn nodes_keep_their_range_of_addresses() {
    let node = json!({"spec": {"podCIDR": "10.244.0.0/24"}, "status": {"capacity": {"cpu": "1"}}});
    assert_eq!(new("Node", node.clone())["spec"]["podCIDRs"], json!(["10.244.0.0/24"]));
    assert_eq!(new("Node", node.clone())["status"]["allocatable"], json!({"cpu": "1"}));
    let (_, errors) = edited("Node", node.clone(), "", |n| n["spec"]["unschedulable"] = json!(true));
    assert_eq!(errors, Vec::<String>::new());
    let (_, errors) = edited("Node", node, "", |n| n["spec"] = json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}));
    assert_eq!(errors, ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]);
}

#[test]
fn warnings_name_what_is_surely_not_meant() {
    let object = pod(json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "ports": [{"containerPort": 1}, {"containerPort": 1}]}]}));
    let expected = [
        "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ];
    assert_eq!(warnings(kind("Pod"), &new("Pod", object), None, ""), expected);
}

#[rstest]
#[case(
    "Pod",
    "a.b",
    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
)]
#[case(
    "Deployment",
    "a.b",
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
)]
#[case("Pod", "a-b", "")]
#[case("DaemonSet", "a.b", "")]
fn names_that_make_bad_hostnames(#[case] kind_name: &str, #[case] name: &str, #[case] expected: &str) {
    let kind = kind(kind_name);
    let object = json!({"metadata": {"name": name, "generation": 1}});
    assert_eq!(warnings(kind, &object, None, "").concat(), expected);
    let mut changed = object.clone();
    changed["metadata"]["generation"] = json!(2);
    assert_eq!(warnings(kind, &changed, Some(&object), ""), Vec::<String>::new(), "the name cannot be helped any more");
}

#[test]
fn updates_warn_when_the_desired_state_changes() {
    let twice = json!({"env": [{"name": "A"}, {"name": "A"}], "name": "c"});
    let old = json!({"metadata": {"generation": 1}, "spec": {"template": {"spec": {"containers": [twice]}}}});
    let mut new = old.clone();
    let count = |new: &Value, subresource: &str| warnings(kind("Deployment"), new, Some(&old), subresource).len();
    assert_eq!(count(&new, ""), 0);
    new["metadata"]["generation"] = json!(2);
    assert_eq!(count(&new, ""), 1);
    assert_eq!(count(&new, "status"), 0);
}

#[test]
fn volumes_say_since_when_they_are_in_their_phase() {
    let (kind, at) = (kind("PersistentVolume"), |second| jiff::Timestamp::from_second(second).unwrap());
    let mut volume = new("PersistentVolume", json!({}));
    stamp(kind, &mut volume, None, at(0));
    assert_eq!(volume["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": "1970-01-01T00:00:00Z"}));
    let since = |edit: &dyn Fn(&mut Value)| {
        let mut new = volume.clone();
        edit(&mut new["status"]);
        stamp(kind, &mut new, Some(&volume), at(60));
        new["status"]["lastPhaseTransitionTime"].clone()
    };
    assert_eq!(since(&|_| ()), "1970-01-01T00:00:00Z");
    assert_eq!(since(&|status| status["phase"] = json!("Bound")), "1970-01-01T00:01:00Z");
    let own = json!({"phase": "Bound", "lastPhaseTransitionTime": "1970-01-01T00:00:09Z"});
    assert_eq!(since(&|status| *status = own.clone()), "1970-01-01T00:00:09Z");
}

#[test]
fn jobs_select_their_own_pods() {
    let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let made = new("Job", job.clone());
    let labels =
        json!({"batch.kubernetes.io/controller-uid": "u", "controller-uid": "u", "batch.kubernetes.io/job-name": "x", "job-name": "x"});
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!((&made["spec"]["template"]["metadata"]["labels"], &made["metadata"]["labels"]), (&labels, &labels));
    assert_eq!(create_errors("Job", job), Vec::<String>::new());
}

#[rstest]
#[case("Service", true)]
#[case("ClusterRole", true)]
#[case("RoleBinding", true)]
#[case("ConfigMap", false)]
#[case("Pod", false)]
fn what_a_put_may_create(#[case] name: &str, #[case] expected: bool) {
    assert_eq!(allows_create_on_update(kind(name)), expected);
}

#[test]
fn selectable_fields_have_values() {
    let fields = selectable_fields(kind("Pod"), &new("Pod", pod(json!({"nodeName": "n"}))));
    let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!(value("metadata.namespace"), Some("ns"));
    assert_eq!(value("spec.nodeName"), Some("n"));
    assert_eq!(value("spec.hostNetwork"), Some("false"));
    assert_eq!(value("status.phase"), Some("Pending"));
    assert_eq!(value("spec.image"), None);
}

#[test]
fn every_kind_takes_the_whole_way_without_a_fault() {
    for kind in kinds::builtin() {
        let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a", "namespace": "b"}});
        default(kind, &mut object);
        let once = object.clone();
        default(kind, &mut object);
        assert_eq!(object, once, "defaults of {} are idempotent", kind.kind);
        prepare_create(kind, &mut object);
        validate_create(kind, &object);
        for subresource in ["", "status", "scale"] {
            let mut new = object.clone();
            prepare_update(kind, &mut new, &object, subresource);
            validate_update(kind, &new, &object, subresource);
        }
        warnings(kind, &object, None, "");
        warnings(kind, &object, Some(&object), "");
        assert!(!selectable_fields(kind, &object).is_empty());
    }
}

#[rstest]
#[case(json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}), &[])]
#[case(json!({"metadata": {"name": "v1."}, "spec": {"version": "v1", "groupPriorityMinimum": 20_001, "versionPriority": 1}}),
    &["spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000"])]
#[case(json!({"metadata": {"name": "x"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": true}}),
    &["metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\"",
      "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"])]
#[case(json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
    "service": {"name": "s"}, "insecureSkipTLSVerify": true, "caBundle": "YQ=="}}),
    &["spec.service.namespace: Required value", "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"])]
fn api_services(#[case] object: Value, #[case] wanted: &[&str]) {
    assert_eq!(create_errors("APIService", object), wanted);
}

fn signing_request(signer: &str) -> Value {
    use base64::Engine;
    let pem = base64::engine::general_purpose::STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\n");
    json!({"spec": {"request": pem, "signerName": signer, "usages": ["client auth"]}})
}

#[test]
fn signing_requests() {
    assert_eq!(create_errors("CertificateSigningRequest", signing_request("example.com/a")), [""; 0]);
    let legacy = create_errors("CertificateSigningRequest", signing_request("kubernetes.io/legacy-unknown"));
    assert!(legacy[0].ends_with("the legacy signerName is not allowed via this API version"), "{legacy:?}");
    let bad = json!({"spec": {"request": "YQ==", "usages": ["client auth", "client auth", "fun"], "expirationSeconds": 599}});
    let fields: Vec<String> = create_errors("CertificateSigningRequest", bad)
        .iter()
        .map(|error| error.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        fields,
        [
            "spec.request: Invalid value",
            "spec.usages[1]: Duplicate value",
            "spec.usages[2]: Unsupported value",
            "spec.signerName: Required value",
            "spec.expirationSeconds: Invalid value"
        ]
    );
}

#[test]
fn approvals_go_through_their_own_path() {
    let approve = |object: &mut Value| {
        object["spec"]["usages"] = json!(["any"]);
        object["status"] = json!({"certificate": "YQ==", "conditions": [{"type": "Approved", "status": "True"}]});
    };
    let (new, errors) = edited("CertificateSigningRequest", signing_request("example.com/a"), "approval", approve);
    assert_eq!(errors, [""; 0]);
    assert_eq!((&new["spec"]["usages"][0], &new["status"]["certificate"]), (&json!("client auth"), &Value::Null));
    let (_, errors) = edited("CertificateSigningRequest", signing_request("example.com/a"), "status", approve);
    assert_eq!(errors[0], "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"");
    let both = |object: &mut Value| {
        object["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"}]});
    };
    let (_, errors) = edited("CertificateSigningRequest", signing_request("example.com/a"), "approval", both);
    assert_eq!(errors.len(), 2, "{errors:?}");
}
