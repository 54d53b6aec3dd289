#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_api::clock::SystemClock;
use coracle_api::kinds;
use coracle_store::{Options, Store};
use serde_json::json;

use super::*;
use crate::objects::testing::Fixture;

/// No node is there.
struct Nobody;

impl NodeDialer for Nobody {}

struct Chain {
    objects: Arc<Fixture>,
    admission: Admission,
    _dir: tempfile::TempDir,
}

fn chain(more: &[(&str, &str, Value)]) -> Chain {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let objects = Fixture::with(&[
        ("", "namespaces", json!({"metadata": {"name": "y"}, "status": {"phase": "Active"}})),
        ("", "namespaces", json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}})),
        ("", "serviceaccounts", json!({"metadata": {"name": "default", "namespace": "y", "uid": "u"}})),
        (
            "",
            "serviceaccounts",
            json!({
                "metadata": {"name": "quiet", "namespace": "y"}, "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "s"}],
            }),
        ),
    ]);
    for (group, plural, object) in more {
        objects.put(group, plural, object.clone());
    }
    let authorizer = Arc::new(Authorizer::new(store).unwrap());
    let admission = Admission::new(objects.clone(), authorizer, Arc::new(SystemClock), Arc::new(Nobody));
    Chain { admission, objects, _dir: dir }
}

impl Chain {
    fn admit(
        &self,
        operation: Operation,
        (group, version, plural): (&str, &str, &str),
        namespace: &str,
        object: &mut Value,
    ) -> Result<(), Status> {
        self.admit_as(&Identity::admin(), operation, (group, version, plural), (namespace, ""), object, None).map(drop)
    }

    /// Admits a write by somebody; answers with the warnings.
    fn admit_as(
        &self,
        identity: &Identity,
        operation: Operation,
        (group, version, plural): (&str, &str, &str),
        (namespace, subresource): (&str, &str),
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let name = text(object, "/metadata/name").to_owned();
        let kind = kinds::find(group, version, plural).unwrap();
        let query = Query::default();
        let request = Request {
            identity,
            kind,
            asked: kind,
            others: &[],
            customs: None,
            namespace,
            name: &name,
            called: name.clone(),
            subresource,
            operation,
            dry_run: false,
            old,
            query: &query,
        };
        let mut warnings = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            if operation == Operation::Delete {
                self.admission.validate(&request, None, &mut warnings).await?;
                return Ok(());
            }
            self.admission.mutate(&request, object, &mut warnings).await?;
            self.admission.validate(&request, Some(object), &mut warnings).await.map(drop)
        })?;
        Ok(warnings)
    }

    fn pod(&self, spec: Value) -> Result<Value, Status> {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "y"}, "spec": spec});
        self.admit(Operation::Create, ("", "v1", "pods"), "y", &mut pod)?;
        Ok(pod)
    }
}

fn containers() -> Value {
    json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]})
}

#[test]
fn storage_is_protected_from_its_first_moment() {
    let chain = chain(&[]);
    let table = [
        ("", "persistentvolumes", "", "kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims", "y", "kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses", "", "kubernetes.io/vac-protection"),
    ];
    for (group, plural, namespace, finalizer) in table {
        for (given, expected) in [(json!(["a/b"]), json!(["a/b", finalizer])), (json!([finalizer]), json!([finalizer]))] {
            let mut object = json!({"metadata": {"name": "a", "finalizers": given}});
            assert_eq!(chain.admit(Operation::Create, (group, "v1", plural), namespace, &mut object), Ok(()));
            assert_eq!(object["metadata"]["finalizers"], expected);
        }
        let mut object = json!({"metadata": {"name": "a"}});
        assert_eq!(chain.admit(Operation::Update, (group, "v1", plural), namespace, &mut object), Ok(()));
        assert_eq!(object["metadata"]["finalizers"], Value::Null);
    }
}

#[test]
fn namespaces_must_be_there_and_alive() {
    let chain = chain(&[]);
    let mut object = json!({"metadata": {"name": "a"}});
    let maps = ("", "v1", "configmaps");
    assert_eq!(chain.admit(Operation::Create, maps, "y", &mut object), Ok(()));
    let missing = chain.admit(Operation::Create, maps, "none", &mut object).unwrap_err();
    assert_eq!(missing, Status::not_found("", "namespaces", "none"));
    let dying = chain.admit(Operation::Create, maps, "dying", &mut object).unwrap_err();
    assert_eq!(
        (dying.code, &*dying.message),
        (403, r#"configmaps "a" is forbidden: unable to create new content in namespace dying because it is being terminated"#)
    );
    assert_eq!(dying.details["causes"][0]["reason"], "NamespaceTerminating");
    assert_eq!(chain.admit(Operation::Update, maps, "dying", &mut object), Ok(()));
    for (name, kept) in [("default", true), ("kube-system", true), ("kube-public", true), ("kube-node-lease", false), ("y", false)] {
        let mut namespace = json!({"metadata": {"name": name}});
        assert_eq!(chain.admit(Operation::Delete, ("", "v1", "namespaces"), name, &mut namespace).is_err(), kept, "{name}");
    }
}

#[test]
fn a_pod_gets_its_accounts_token() {
    let chain = chain(&[]);
    let pod = chain.pod(containers()).unwrap();
    let spec = &pod["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    let volume = text(spec, "/volumes/0/name");
    assert!(volume.starts_with("kube-api-access-") && volume.len() == "kube-api-access-".len() + 5, "{volume}");
    assert_eq!(spec["volumes"][0]["projected"]["sources"][0], json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}));
    let mount = json!([{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": volume, "readOnly": true}]);
    assert_eq!((&spec["containers"][0]["volumeMounts"], &spec["initContainers"][0]["volumeMounts"]), (&mount, &mount));
}

#[test]
fn a_pod_without_token() {
    let chain = chain(&[]);
    let quiet = chain.pod(json!({"serviceAccountName": "quiet", "containers": [{"name": "c"}]})).unwrap();
    assert_eq!((quiet["spec"].get("volumes"), &quiet["spec"]["imagePullSecrets"]), (None, &json!([{"name": "s"}])));
    let own = json!({"containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]});
    assert_eq!(chain.pod(own).unwrap()["spec"].get("volumes"), None);
    let loud = json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true, "containers": [{"name": "c"}]});
    assert_eq!(chain.pod(loud).unwrap()["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(
        chain.pod(json!({"serviceAccountName": "none"})).unwrap_err().message,
        r#"pods "p" is forbidden: error looking up service account y/none: serviceaccount "none" not found"#
    );
}

fn class(name: &str, value: i64, default: bool) -> (&'static str, &'static str, Value) {
    let object = json!({"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": "Never"});
    ("scheduling.k8s.io", "priorityclasses", object)
}

#[test]
fn priority_comes_from_the_class() {
    let plain = chain(&[class("high", 100, false)]);
    let spec = plain.pod(containers()).unwrap()["spec"].clone();
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    let spec = plain.pod(json!({"priorityClassName": "high"})).unwrap()["spec"].clone();
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(100), &json!("Never")));
    let message = |spec| plain.pod(spec).unwrap_err().message;
    assert_eq!(message(json!({"priorityClassName": "no"})), r#"pods "p" is forbidden: no PriorityClass with name no was found"#);
    assert!(message(json!({"priority": 7})).contains("the integer value of priority (7) must not be provided"));

    let defaulted = chain(&[class("usual", 10, true), class("high", 100, false)]);
    assert_eq!(defaulted.pod(containers()).unwrap()["spec"]["priorityClassName"], "usual");
    let (group, _, mut second) = class("second", 5, true);
    assert!(defaulted.admit(Operation::Create, (group, "v1", "priorityclasses"), "", &mut second).is_err());
    let (_, _, mut same) = class("usual", 11, true);
    assert_eq!(defaulted.admit(Operation::Update, (group, "v1", "priorityclasses"), "", &mut same), Ok(()));
}

#[test]
fn tolerations_are_added_once() {
    let chain = chain(&[]);
    let pod = chain.pod(containers()).unwrap();
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(chain.pod(pod["spec"].clone()).unwrap()["spec"]["tolerations"], pod["spec"]["tolerations"]);
    let all = chain.pod(json!({"tolerations": [{"operator": "Exists"}]})).unwrap();
    assert_eq!(all["spec"]["tolerations"].as_array().unwrap().len(), 1);
}

fn limits(limits: Value) -> Chain {
    chain(&[("", "limitranges", json!({"metadata": {"name": "l", "namespace": "y"}, "spec": {"limits": limits}}))])
}

#[test]
fn limit_ranges_fill_and_refuse() {
    let chain = limits(json!([{"type": "Container", "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]));
    let pod = chain.pod(json!({"containers": [{"name": "c", "image": "i"}]})).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}}));
    assert_eq!(
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let refused = chain.pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}}]}));
    assert_eq!(refused.unwrap_err().message, r#"pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#);
    assert_eq!(chain.objects.list("", "limitranges", "y").len(), 1);
}

#[test]
fn limit_ranges_of_pods_and_claims() {
    let chain = limits(json!([
        {"type": "Pod", "min": {"memory": "10Mi"}, "max": {"cpu": "1"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "min": {"storage": "1Mi"}},
    ]));
    let container = |cpu: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu, "memory": "20Mi"}, "requests": {"cpu": cpu, "memory": "20Mi"}}});
    assert!(chain.pod(json!({"containers": [container("500m"), container("500m")]})).is_ok());
    assert_eq!(
        chain.pod(json!({"containers": [container("500m"), container("600m")]})).unwrap_err().message,
        r#"pods "p" is forbidden: maximum cpu usage per Pod is 1, but limit is 1100m"#
    );
    assert!(chain.pod(json!({"containers": [{"name": "c"}]})).unwrap_err().message.contains(
        "[minimum memory usage per Pod is 10Mi.  No request is specified, maximum cpu usage per Pod is 1.  No limit is specified]"
    ));
    let claim = |size: &str| json!({"metadata": {"name": "v"}, "spec": {"resources": {"requests": {"storage": size}}}});
    let claims = ("", "v1", "persistentvolumeclaims");
    assert_eq!(chain.admit(Operation::Create, claims, "y", &mut claim("1Gi")), Ok(()));
    assert!(chain.admit(Operation::Create, claims, "y", &mut claim("2Gi")).is_err());
}

#[test]
fn claims_get_the_default_class() {
    let class = |name: &str, default: &str, at: &str| {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": default});
        ("storage.k8s.io", "storageclasses", json!({"metadata": {"name": name, "annotations": annotations, "creationTimestamp": at}}))
    };
    let chain = chain(&[
        class("old", "true", "2026-01-01T00:00:00Z"),
        class("new", "true", "2026-02-01T00:00:00Z"),
        class("no", "false", "2026-03-01T00:00:00Z"),
    ]);
    let admitted = |spec: Value| {
        let mut claim = json!({"metadata": {"name": "v"}, "spec": spec});
        chain.admit(Operation::Create, ("", "v1", "persistentvolumeclaims"), "y", &mut claim).unwrap();
        claim["spec"]["storageClassName"].clone()
    };
    assert_eq!(admitted(json!({})), "new");
    assert_eq!(admitted(json!({"storageClassName": ""})), "", "no class at all is a choice too");
}

#[test]
fn runtime_classes_give_overhead_and_nodes() {
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
    let chain = chain(&[("node.k8s.io", "runtimeclasses", class)]);
    let pod = chain.pod(json!({"runtimeClassName": "vm", "containers": [{"name": "c"}]})).unwrap();
    assert_eq!((&pod["spec"]["overhead"], &pod["spec"]["nodeSelector"]), (&json!({"cpu": "100m"}), &json!({"vm": "yes"})));
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 3);
    let refused = |spec: Value| chain.pod(spec).unwrap_err().message;
    assert_eq!(refused(json!({"runtimeClassName": "none"})), r#"pods "p" is forbidden: pod rejected: RuntimeClass "none" not found"#);
    assert!(
        refused(json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}))
            .ends_with("Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    );
    assert!(
        refused(json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}))
            .contains("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes")
    );
    assert!(refused(json!({"overhead": {"cpu": "1"}})).contains("without corresponding RuntimeClass"));
}

#[test]
fn claims_grow_where_their_class_lets_them() {
    let class =
        |name: &str, grows: bool| ("storage.k8s.io", "storageclasses", json!({"metadata": {"name": name}, "allowVolumeExpansion": grows}));
    let chain = chain(&[class("grows", true), class("fixed", false)]);
    let claim = |class: &str, size: &str| json!({"metadata": {"name": "v"}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": "Bound"}});
    for (class, size, allowed) in [("grows", "2Gi", true), ("fixed", "2Gi", false), ("fixed", "1Gi", true), ("none", "2Gi", false)] {
        let old = claim(class, "1Gi");
        let path = ("", "v1", "persistentvolumeclaims");
        let admitted = chain.admit_as(&Identity::admin(), Operation::Update, path, ("y", ""), &mut claim(class, size), Some(&old));
        assert_eq!(admitted.is_ok(), allowed, "{class} {size}");
    }
}

#[test]
fn nodes_keep_to_themselves() {
    let chain = chain(&[]);
    let node = Identity::node("n");
    let nodes = ("", "v1", "nodes");
    let admit = |operation: Operation, path, place, mut object: Value, old: Option<Value>| {
        chain.admit_as(&node, operation, path, place, &mut object, old.as_ref()).map(drop).map_err(|refused| refused.message)
    };
    let own = |labels: Value| json!({"metadata": {"name": "n", "labels": labels}});
    assert_eq!(admit(Operation::Create, nodes, ("", ""), own(json!({"kubernetes.io/hostname": "n", "mine": "x"})), None), Ok(()));
    assert_eq!(
        admit(Operation::Update, nodes, ("", ""), own(json!({"node-restriction.kubernetes.io/a": "b"})), Some(own(json!({})))),
        Err(r#"nodes "n" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a"#.to_owned())
    );
    let mut tainted = own(json!({}));
    tainted["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]);
    assert!(admit(Operation::Update, nodes, ("", ""), tainted, Some(own(json!({})))).unwrap_err().contains("not allowed to modify taints"));
    let other = json!({"metadata": {"name": "m"}});
    assert!(
        admit(Operation::Update, nodes, ("", "status"), other.clone(), Some(other))
            .unwrap_err()
            .contains(r#"node "n" is not allowed to modify node "m""#)
    );
    let pods = ("", "v1", "pods");
    let pod = |on: &str| json!({"metadata": {"name": "p", "namespace": "y"}, "spec": {"nodeName": on, "containers": []}});
    assert!(admit(Operation::Create, pods, ("y", ""), pod("n"), None).unwrap_err().contains("can only create mirror pods"));
    assert_eq!(admit(Operation::Delete, pods, ("y", ""), pod("n"), Some(pod("n"))), Ok(()));
    assert!(admit(Operation::Delete, pods, ("y", ""), pod("m"), Some(pod("m"))).is_err());
    assert!(admit(Operation::Update, pods, ("y", "status"), pod("m"), Some(pod("m"))).is_err());
}

#[test]
fn signers_are_asked_about_their_requests() {
    let chain = chain(&[]);
    let requests = ("certificates.k8s.io", "v1", "certificatesigningrequests");
    let request = |signer: &str| json!({"metadata": {"name": "r"}, "spec": {"signerName": signer}});
    let somebody = Identity::new("somebody", &[]);
    for (identity, allowed) in [(&somebody, false), (&Identity::admin(), true)] {
        let old = request("example.com/signer");
        let admitted = chain.admit_as(identity, Operation::Update, requests, ("", "approval"), &mut old.clone(), Some(&old));
        assert_eq!(admitted.is_ok(), allowed);
        if let Err(refused) = admitted {
            assert!(
                refused.message.ends_with("user not permitted to approve requests with signerName \"example.com/signer\""),
                "{}",
                refused.message
            );
        }
    }
    let mut key = rcgen::CertificateParams::default();
    key.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    let pem = key.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let mut greedy = request("kubernetes.io/kube-apiserver-client");
    greedy["spec"]["request"] = json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem));
    let refused = chain.admit(Operation::Create, requests, "", &mut greedy).unwrap_err();
    assert!(refused.message.contains("system:masters group is not allowed"), "{}", refused.message);
}

#[test]
fn levels_are_enforced_and_warned_of() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    let namespace = |labels: Value| json!({"metadata": {"name": "y", "labels": labels}, "status": {"phase": "Active"}});
    let chain = chain(&[("", "namespaces", namespace(labels.clone()))]);
    let privileged = json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]});
    assert_eq!(
        chain.pod(privileged.clone()).unwrap_err().message,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"c\" must not set securityContext.privileged=true)"
    );
    let mut deployment = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": privileged}}});
    let path = ("apps", "v1", "deployments");
    let warnings = chain.admit_as(&Identity::admin(), Operation::Create, path, ("y", ""), &mut deployment, None).unwrap();
    assert!(warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": privileged (container \"c\""), "{warnings:?}");
    for name in ["b", "a"] {
        chain.objects.put("", "pods", json!({"metadata": {"name": name, "namespace": "y"}, "spec": {"containers": [{"name": "c"}]}}));
    }
    let mut strict = namespace(json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let path = ("", "v1", "namespaces");
    let warnings = chain.admit_as(&Identity::admin(), Operation::Update, path, ("y", ""), &mut strict, Some(&namespace(labels))).unwrap();
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"y\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
}
