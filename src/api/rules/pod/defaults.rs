//! Defaults of pods and of pod templates.

use serde_json::{Value, json};

use crate::rules::check::{Fill, Read};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A pod: what a template gets, and what only pods get.
pub(crate) fn pod(object: &mut Value) {
    object.within("spec", |spec| {
        for list in ["containers", "initContainers"] {
            spec.for_each(list, |container| container.with("resources", requests_from_limits));
        }
        pod_resources(spec);
        spec.fill("enableServiceLinks", true);
        if spec.yes("hostNetwork") {
            for list in ["containers", "initContainers"] {
                spec.for_each(list, |container| {
                    container.for_each("ports", |port| {
                        let number = port["containerPort"].clone();
                        port.fill_zero("hostPort", number);
                    });
                });
            }
        }
    });
    object.with("spec", pod_spec);
}

/// `template` of a workload.
pub(crate) fn template(template: &mut Value) {
    template.within("spec", pod_spec);
}

/// What pods and templates share.
fn pod_spec(spec: &mut Value) {
    spec.fill_zero("dnsPolicy", "ClusterFirst");
    spec.fill_zero("restartPolicy", "Always");
    spec.fill("securityContext", json!({}));
    spec.fill("terminationGracePeriodSeconds", 30);
    spec.fill_zero("schedulerName", "default-scheduler");
    spec.for_each("volumes", volume);
    for list in CONTAINER_LISTS {
        spec.for_each(list, container);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container.text("image"));
    container.fill_zero("imagePullPolicy", policy);
    container.fill_zero("terminationMessagePath", "/dev/termination-log");
    container.fill_zero("terminationMessagePolicy", "File");
    container.fill("resources", json!({}));
    container.for_each("ports", |port| port.fill_zero("protocol", "TCP"));
    container.for_each("env", |env| {
        env.with("valueFrom", |from| {
            from.with("fieldRef", field_ref);
            from.with("fileKeyRef", |file| file.fill("optional", false));
        });
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.with(name, probe);
    }
    container.with("lifecycle", |lifecycle| {
        // Upstream drops it: its feature gate is off unless somebody switches it on.
        lifecycle.cut("stopSignal");
        for hook in ["postStart", "preStop"] {
            lifecycle.with(hook, |hook| hook.with("httpGet", http_get));
        }
    });
    if container.has("lifecycle") && container.map("lifecycle").is_empty() {
        container.cut("lifecycle");
    }
}

fn probe(probe: &mut Value) {
    for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
        probe.fill_zero(key, value);
    }
    probe.with("httpGet", http_get);
    probe.with("grpc", |grpc| grpc.fill("service", ""));
}

fn http_get(action: &mut Value) {
    action.fill_zero("path", "/");
    action.fill_zero("scheme", "HTTP");
}

fn field_ref(reference: &mut Value) {
    reference.fill_zero("apiVersion", "v1");
}

/// Always for images without tag and digest and for `latest`.
fn pull_policy(image: &str) -> &'static str {
    let (rest, digest) = image.split_once('@').map_or((image, false), |(rest, _)| (rest, true));
    let last = rest.rsplit('/').next().unwrap_or(rest);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(resources: &mut Value) {
    if let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() {
        resources.within("requests", |requests| {
            for (name, quantity) in limits {
                requests.fill(&name, quantity);
            }
        });
    }
}

/// Resources of the pod as a whole: requests follow from what the containers ask for where all of them do, else from limits.
fn pod_resources(spec: &mut Value) {
    if !spec["resources"].is_object() || spec["resources"].map("limits").is_empty() {
        return;
    }
    let containers: Vec<Value> = spec.items("containers").to_vec();
    let limits = spec["resources"].map("limits").clone();
    spec.with("resources", |resources| {
        resources.within("requests", |requests| {
            for (name, limit) in limits {
                let asked = containers.iter().any(|c| c["resources"]["requests"].has(&name));
                if !asked {
                    requests.fill(&name, limit);
                }
            }
        });
        if resources.map("requests").is_empty() {
            resources.cut("requests");
        }
    });
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.keys().all(|key| key == "name")) {
        volume.put("emptyDir", json!({}));
    }
    volume.with("hostPath", |source| source.fill("type", ""));
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        volume.with(source, |source| source.fill("defaultMode", 0o644));
    }
    let downward = |source: &mut Value| source.for_each("items", |item| item.with("fieldRef", field_ref));
    volume.with("downwardAPI", downward);
    volume.with("projected", |projected| {
        projected.for_each("sources", |source| {
            source.with("serviceAccountToken", |token| token.fill("expirationSeconds", 3600));
            source.with("downwardAPI", downward);
        });
    });
    volume.with("image", |image| {
        let policy = pull_policy(image.text("reference"));
        image.fill_zero("pullPolicy", policy);
    });
    volume.with("ephemeral", |source| {
        source.with("volumeClaimTemplate", |claim| claim.with("spec", |spec| spec.fill("volumeMode", "Filesystem")));
    });
    volume_plugins(volume);
}

/// Defaults of volume sources that persistent volumes share with pods.
pub(crate) fn volume_plugins(volume: &mut Value) {
    volume.with("iscsi", |source| source.fill_zero("iscsiInterface", "default"));
    volume.with("rbd", |source| {
        source.fill_zero("pool", "rbd");
        source.fill_zero("user", "admin");
        source.fill_zero("keyring", "/etc/ceph/keyring");
    });
    volume.with("azureDisk", |source| {
        source.fill("cachingMode", "ReadWrite");
        source.fill("kind", "Shared");
        source.fill("fsType", "ext4");
        source.fill("readOnly", false);
    });
    volume.with("scaleIO", |source| {
        source.fill_zero("storageMode", "ThinProvisioned");
        source.fill_zero("fsType", "xfs");
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("nginx", "Always")]
    #[case("nginx:latest", "Always")]
    #[case("nginx:1.27", "IfNotPresent")]
    #[case("localhost:5000/nginx", "Always")]
    #[case("localhost:5000/nginx:1", "IfNotPresent")]
    #[case("nginx@sha256:0123", "IfNotPresent")]
    #[case("nginx:latest@sha256:0123", "Always")]
    fn pull_policy_follows_the_tag(#[case] image: &str, #[case] policy: &str) {
        assert_eq!(pull_policy(image), policy);
    }

    #[test]
    fn defaults_are_idempotent_and_pods_get_more_than_templates() {
        let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"grpc": {"port": 1}}}]});
        let mut one = json!({"spec": spec});
        pod(&mut one);
        let mut two = one.clone();
        pod(&mut two);
        assert_eq!(one, two);
        assert_eq!(one["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(one["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(one["spec"]["containers"][0]["livenessProbe"]["grpc"]["service"], "");
        assert_eq!(one["spec"]["enableServiceLinks"], true);
        let mut in_template = json!({"spec": spec});
        template(&mut in_template);
        assert!(in_template["spec"]["containers"][0]["ports"][0]["hostPort"].is_null());
        assert!(in_template["spec"]["containers"][0]["resources"]["requests"].is_null());
        assert!(in_template["spec"]["enableServiceLinks"].is_null());
    }
}
