//! `label`, `annotate`, `set`, `patch`, `scale`, `rollout`, `wait`, `cordon`, `taint`, `drain`, `certificate`.

use serde_json::{Value, json};

use super::{shown, with_each};
use crate::harness::Need;
use crate::here::{Here, row_alone};

#[test]
fn objects_are_changed() {
    with_each("change", &[Need::Kubectl], async |here| {
        labelled(here);
        set(here);
        patched(here);
    });
}

fn labelled(here: &Here) {
    here.kubectl(&["create", "cm", "m", "--from-literal=a=1"]).ok();
    here.kubectl(&["label", "cm", "m", "a=1", "b=2"]).shows(&["labeled"]);
    assert!(here.kubectl(&["label", "cm", "m", "a=2"]).failed(1).contains("already has a value (1)"));
    here.kubectl(&["label", "cm", "m", "a=2", "b-", "--overwrite"]).ok();
    assert_eq!(shown(here, "cm/m")["metadata"]["labels"], json!({"a": "2"}));
    here.kubectl(&["label", "cm", "-l", "a=2", "c=3", "--all=false"]).shows(&["labeled"]);
    here.kubectl(&["label", "cm", "m", "--list"]).shows(&["c=3"]);
    here.kubectl(&["annotate", "cm", "m", "x/y=z", "--resource-version=1"]).failed(1);
    here.kubectl(&["annotate", "cm", "m", "x/y=z"]).shows(&["annotate"]);
    here.kubectl(&["annotate", "cm", "m", "x/y-"]).ok();
    assert!(shown(here, "cm/m")["metadata"]["annotations"].is_null());
}

fn set(here: &Here) {
    here.kubectl(&["create", "deployment", "web", "--image=i:1", "--replicas=0"]).ok();
    here.kubectl(&["set", "image", "deployment/web", "i=i:2"]).shows(&["image updated"]);
    here.kubectl(&["set", "env", "deployment/web", "A=1", "B=2"]).shows(&["env updated"]);
    here.kubectl(&["set", "env", "deployment/web", "--from=configmap/m", "--prefix=M_"]).ok();
    here.kubectl(&["set", "env", "deployment/web", "B-"]).ok();
    here.kubectl(&["set", "resources", "deployment", "web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m"]).ok();
    here.kubectl(&["create", "sa", "sa"]).ok();
    here.kubectl(&["set", "serviceaccount", "deployment", "web", "sa"]).shows(&["serviceaccount updated"]);
    let container = |object: &Value| object["spec"]["template"]["spec"]["containers"][0].clone();
    let web = shown(here, "deployment/web");
    let of_map = json!({"configMapKeyRef": {"key": "a", "name": "m"}});
    assert_eq!(container(&web)["env"], json!([{"name": "A", "value": "1"}, {"name": "M_A", "valueFrom": of_map}]));
    assert_eq!(container(&web)["image"], "i:2");
    assert_eq!(container(&web)["resources"], json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}));
    assert_eq!(web["spec"]["template"]["spec"]["serviceAccountName"], "sa");
    here.kubectl(&["create", "service", "clusterip", "s", "--tcp=80"]).ok();
    here.kubectl(&["set", "selector", "service", "s", "app=other"]).ok();
    assert_eq!(shown(here, "service/s")["spec"]["selector"], json!({"app": "other"}));
    here.kubectl(&["create", "role", "r", "--verb=get", "--resource=pods"]).ok();
    here.kubectl(&["create", "rolebinding", "b", "--role=r", "--user=u"]).ok();
    here.kubectl(&["set", "subject", "rolebinding", "b", "--user=v"]).shows(&["subjects updated"]);
    assert_eq!(shown(here, "rolebinding/b")["subjects"][1]["name"], "v");
}

fn patched(here: &Here) {
    let patch = |kind: &str, text: &str| here.kubectl(&["patch", "deployment", "web", &format!("--type={kind}"), "-p", text]);
    patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"second","image":"j:1"}]}}}}"#).shows(&["patched"]);
    patch("merge", r#"{"spec":{"minReadySeconds":3}}"#).ok();
    patch("json", r#"[{"op":"test","path":"/spec/minReadySeconds","value":3},{"op":"replace","path":"/spec/minReadySeconds","value":4}]"#)
        .ok();
    let web = shown(here, "deployment/web");
    let names: Vec<&str> =
        web["spec"]["template"]["spec"]["containers"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!((names, &web["spec"]["minReadySeconds"]), (vec!["second", "i"], &json!(4)));
    patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"second","$patch":"delete"}]}}}}"#).ok();
    assert_eq!(shown(here, "deployment/web")["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
    patch("json", r#"[{"op":"test","path":"/spec/minReadySeconds","value":9}]"#).failed(1);
    here.kubectl(&["patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#]).ok();
    assert_eq!(shown(here, "deployment/web")["spec"]["replicas"], 1);
    here.kubectl(&["scale", "deployment/web", "--replicas=0"]).shows(&["scaled"]);
    here.kubectl(&["wait", "deployment/web", "--for=jsonpath={.spec.replicas}=0", "--timeout=60s"]).shows(&["condition met"]);
}

#[test]
fn a_rollout_is_driven() {
    with_each("rollout", &[Need::Kubectl], async |here| {
        let status = || here.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).shows(&["successfully rolled out"]);
        here.kubectl(&["create", "deployment", "web", "--image=coracle.local/kubia:1.0"]).ok();
        let numbered = |web: &Value| web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1";
        here.until_object("the first revision", &here.path("apps/v1", "deployments/web"), numbered).await;
        here.kubectl(&["patch", "deployment", "web", "-p", r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}"#]).ok();
        status();
        here.kubectl(&["rollout", "pause", "deployment/web"]).shows(&["paused"]);
        here.kubectl(&["set", "image", "deployment/web", "kubia=coracle.local/kubia:1.1"]).ok();
        assert!(here.kubectl(&["rollout", "undo", "deployment/web"]).failed(1).contains("paused"));
        here.kubectl(&["rollout", "resume", "deployment/web"]).shows(&["resumed"]);
        status();
        here.kubectl(&["annotate", "deployment/web", "kubernetes.io/change-cause=the new image"]).ok();
        here.kubectl(&["rollout", "restart", "deployment/web"]).shows(&["restarted"]);
        status();
        here.kubectl(&["rollout", "history", "deployment/web"]).shows(&["REVISION", "CHANGE-CAUSE"]);
        here.kubectl(&["rollout", "history", "deployment/web", "--revision=2"]).shows(&["coracle.local/kubia:1.0"]);
        here.kubectl(&["rollout", "undo", "deployment/web", "--to-revision=2"]).shows(&["rolled back"]);
        status();
        assert_eq!(shown(here, "deployment/web")["spec"]["template"]["spec"]["containers"][0]["image"], "coracle.local/kubia:1.0");
        here.kubectl(&["wait", "deployment/web", "--for=condition=Available", "--timeout=60s"]).shows(&["condition met"]);
        let pods = here.kubectl(&["wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=60s"]);
        // pods of before may go meanwhile
        assert!(pods.text().contains("condition met"), "{}", pods.said());
        here.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=90s"]).ok();
    });
}

#[test]
fn a_node_is_cordoned_tainted_and_drained() {
    row_alone("kubectl drain", &[Need::Kubectl], async |here| {
        let nodes = here.get("/api/v1/nodes").await.ok();
        let node = nodes["items"][1]["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/nodes/{node}");
        here.kubectl(&["taint", "node", &node, "test=yes:NoSchedule"]).shows(&["tainted"]);
        let taints = here.get(&path).await.ok()["spec"]["taints"].clone();
        assert!(taints.as_array().unwrap().iter().any(|taint| taint["key"] == "test"), "{taints}");
        here.kubectl(&["taint", "node", &node, "test-"]).shows(&["untainted"]);
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": {"nodeName": node,
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "coracle.local/kubia:1.1"}]}});
        here.kubectl_with(&["create", "-f", "-"], pod.to_string().as_bytes()).ok();
        here.until_phase("one", "Running").await;
        here.kubectl(&["cordon", &node]).shows(&["cordoned"]);
        here.kubectl(&["get", "node", &node]).shows(&["SchedulingDisabled"]);
        let selector = "--pod-selector=!pod-template-hash";
        let drained =
            here.kubectl(&["drain", &node, "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s", selector]);
        let uncordoned = here.kubectl(&["uncordon", &node]);
        drained.shows(&["drained"]);
        uncordoned.shows(&["uncordoned"]);
        here.until_gone(&here.path("v1", "pods/one")).await;
        assert!(here.get(&path).await.ok()["spec"]["unschedulable"].is_null());
        pod["spec"].take();
    });
}

#[test]
fn certificates_are_approved_and_denied() {
    with_each("certificate", &[Need::Kubectl], async |here| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut request = rcgen::CertificateParams::new(Vec::new()).unwrap();
        request.distinguished_name.push(rcgen::DnType::CommonName, "somebody");
        let pem = request.serialize_request(&key).unwrap().pem().unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        for (verb, says) in [("approve", "approved"), ("deny", "denied")] {
            let name = format!("{}-{verb}", here.namespace.replace('.', "-"));
            let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
                "spec": {"request": encoded, "signerName": "example.com/mine", "usages": ["client auth"]}});
            here.remove_later(format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}"));
            here.kubectl_with(&["create", "-f", "-"], object.to_string().as_bytes()).ok();
            here.kubectl(&["certificate", verb, &name]).shows(&[says]);
            let column = if verb == "deny" { "Denied" } else { "Approved" };
            here.kubectl(&["get", "csr", &name]).shows(&["example.com/mine", column]);
        }
    });
}
