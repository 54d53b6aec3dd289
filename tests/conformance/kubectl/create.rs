//! `create` with every generator, `run`, `expose`, `autoscale`, `create token`.

use serde_json::{Value, json};

use super::{shown, with_each};
use crate::harness::Need;
use crate::here::Here;

/// Creates something; the object made must have these values.
fn made(here: &Here, arguments: &[&str], what: &str, wanted: &[(&str, Value)]) {
    here.kubectl(&[&["create"], arguments].concat()).shows(&[" created"]);
    has(here, what, wanted);
}

fn has(here: &Here, what: &str, wanted: &[(&str, Value)]) {
    let object = shown(here, what);
    for (pointer, value) in wanted {
        assert_eq!(object.pointer(pointer), Some(value), "{what} {pointer}: {object}");
    }
}

#[test]
fn every_generator_creates() {
    with_each("create", &[Need::Kubectl], async |here| {
        workloads(here);
        configuration(here);
        access(here);
        traffic(here);
        of_the_cluster(here);
    });
}

fn workloads(here: &Here) {
    made(
        here,
        &["deployment", "d", "--image=i:1", "--replicas=0", "--port=80", "--", "sleep", "1"],
        "deployment/d",
        &[
            ("/spec/replicas", json!(0)),
            ("/spec/template/spec/containers/0/ports/0/containerPort", json!(80)),
            ("/spec/template/spec/containers/0/command", json!(["sleep", "1"])),
            ("/spec/selector/matchLabels", json!({"app": "d"})),
        ],
    );
    made(
        here,
        &["cronjob", "c", "--image=i:1", "--schedule=0 0 1 1 *", "--restart=OnFailure"],
        "cronjob/c",
        &[
            ("/spec/schedule", json!("0 0 1 1 *")),
            ("/spec/jobTemplate/spec/template/spec/restartPolicy", json!("OnFailure")),
            ("/spec/concurrencyPolicy", json!("Allow")),
        ],
    );
    made(
        here,
        &["job", "from", "--from=cronjob/c"],
        "job/from",
        &[
            ("/metadata/annotations/cronjob.kubernetes.io~1instantiate", json!("manual")),
            ("/metadata/ownerReferences/0/kind", json!("CronJob")),
        ],
    );
    made(here, &["job", "j", "--image=i:1", "--", "true"], "job/j", &[("/spec/completions", json!(1)), ("/spec/backoffLimit", json!(6))]);
    here.kubectl(&["autoscale", "deployment", "d", "--min=1", "--max=3", "--cpu-percent=80"]).shows(&["autoscaled"]);
    has(here, "hpa/d", &[("/spec/minReplicas", json!(1)), ("/spec/maxReplicas", json!(3)), ("/spec/scaleTargetRef/name", json!("d"))]);
    here.kubectl(&["run", "r", "--image=i:1", "--env=A=b", "--labels=x=y", "--port=80", "--expose"])
        .shows(&["pod/r created", "service/r created"]);
    has(here, "pod/r", &[("/spec/containers/0/env", json!([{"name": "A", "value": "b"}])), ("/metadata/labels", json!({"x": "y"}))]);
    has(here, "service/r", &[("/spec/selector", json!({"x": "y"})), ("/spec/ports/0/targetPort", json!(80))]);
    here.kubectl(&["create", "poddisruptionbudget", "p", "--selector=app=d", "--min-available=1"]).shows(&["created"]);
    has(here, "pdb/p", &[("/spec/minAvailable", json!(1))]);
}

fn configuration(here: &Here) {
    let place = &here.cluster.place;
    let file = place.write(&format!("{}/file.txt", here.namespace), "in a file\n");
    let env = place.write(&format!("{}/some.env", here.namespace), "A=1\n# no\nB=two words\n");
    let (file, env) = (format!("--from-file=key={}", file.display()), format!("--from-env-file={}", env.display()));
    made(here, &["configmap", "m", &file, "--from-literal=a=b"], "cm/m", &[("/data", json!({"key": "in a file\n", "a": "b"}))]);
    made(here, &["configmap", "e", &env, "--append-hash=false"], "cm/e", &[("/data", json!({"A": "1", "B": "two words"}))]);
    made(
        here,
        &["secret", "generic", "s", "--from-literal=a=b", "--type=example.com/mine"],
        "secret/s",
        &[("/data/a", json!("Yg==")), ("/type", json!("example.com/mine"))],
    );
    made(
        here,
        &["secret", "docker-registry", "r", "--docker-server=x.io", "--docker-username=u", "--docker-password=p"],
        "secret/r",
        &[("/type", json!("kubernetes.io/dockerconfigjson"))],
    );
    let pem = |name: &str| place.path().join(here.namespace.as_str()).join(name).to_str().unwrap().to_owned();
    let key = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    place.write(&format!("{}/tls.crt", here.namespace), key.cert.pem());
    place.write(&format!("{}/tls.key", here.namespace), key.signing_key.serialize_pem());
    let (cert, key) = (format!("--cert={}", pem("tls.crt")), format!("--key={}", pem("tls.key")));
    made(here, &["secret", "tls", "t", &cert, &key], "secret/t", &[("/type", json!("kubernetes.io/tls"))]);
    made(
        here,
        &["quota", "q", "--hard=pods=10,configmaps=20", "--scopes="],
        "quota/q",
        &[("/spec/hard", json!({"pods": "10", "configmaps": "20"}))],
    );
}

fn access(here: &Here) {
    let account = format!("{}:sa", here.namespace);
    made(here, &["serviceaccount", "sa"], "sa/sa", &[]);
    made(
        here,
        &["role", "reads", "--verb=get,list", "--resource=pods,deployments.apps", "--resource-name=one"],
        "role/reads",
        &[
            ("/rules/0", json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"], "resourceNames": ["one"]})),
            ("/rules/1/apiGroups", json!(["apps"])),
        ],
    );
    made(
        here,
        &["rolebinding", "reads", "--role=reads", &format!("--serviceaccount={account}"), "--user=u", "--group=g"],
        "rolebinding/reads",
        &[("/roleRef/kind", json!("Role")), ("/subjects/2/kind", json!("ServiceAccount"))],
    );
    let token = here.kubectl(&["create", "token", "sa", "--duration=1h", "--audience=me"]).ok();
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}

fn traffic(here: &Here) {
    made(
        here,
        &["service", "clusterip", "ip", "--tcp=80:8080"],
        "svc/ip",
        &[("/spec/ports/0/targetPort", json!(8080)), ("/spec/type", json!("ClusterIP"))],
    );
    made(here, &["service", "clusterip", "none", "--clusterip=None"], "svc/none", &[("/spec/clusterIP", json!("None"))]);
    made(here, &["service", "nodeport", "np", "--tcp=80:8080"], "svc/np", &[("/spec/type", json!("NodePort"))]);
    made(here, &["service", "loadbalancer", "lb", "--tcp=18080:8080"], "svc/lb", &[("/spec/type", json!("LoadBalancer"))]);
    made(here, &["service", "externalname", "en", "--external-name=a.example"], "svc/en", &[("/spec/externalName", json!("a.example"))]);
    made(
        here,
        &["ingress", "i", "--rule=a.example/path*=ip:80,tls=t", "--class=c", "--annotation=x=y"],
        "ingress/i",
        &[
            ("/spec/rules/0/http/paths/0/pathType", json!("Prefix")),
            ("/spec/tls/0/secretName", json!("t")),
            ("/spec/ingressClassName", json!("c")),
        ],
    );
    here.kubectl(&["expose", "deployment", "d", "--name=ex", "--port=80", "--target-port=web", "--type=NodePort"]).shows(&["exposed"]);
    has(here, "svc/ex", &[("/spec/selector", json!({"app": "d"})), ("/spec/ports/0/targetPort", json!("web"))]);
}

fn of_the_cluster(here: &Here) {
    let name = format!("{}-made", here.namespace.replace('.', "-"));
    let remove = |path: &str| here.remove_later(format!("{path}/{name}"));
    remove("/apis/rbac.authorization.k8s.io/v1/clusterroles");
    remove("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings");
    remove("/apis/scheduling.k8s.io/v1/priorityclasses");
    remove("/api/v1/namespaces");
    made(
        here,
        &["clusterrole", &name, "--verb=get", "--non-resource-url=/healthz"],
        &format!("clusterrole/{name}"),
        &[("/rules/0/nonResourceURLs", json!(["/healthz"]))],
    );
    made(
        here,
        &["clusterrolebinding", &name, &format!("--clusterrole={name}"), "--user=u"],
        &format!("clusterrolebinding/{name}"),
        &[("/subjects/0/name", json!("u"))],
    );
    made(
        here,
        &["priorityclass", &name, "--value=7", "--preemption-policy=Never"],
        &format!("priorityclass/{name}"),
        &[("/value", json!(7)), ("/preemptionPolicy", json!("Never"))],
    );
    made(here, &["namespace", &name], &format!("namespace/{name}"), &[("/status/phase", json!("Active"))]);
}
