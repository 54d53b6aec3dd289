//! What a node may, as upstream's node authorizer has it: the rules of `system:node`, narrowed for what pods refer to, to the
//! objects of pods that are bound to the node, and for leases and the like to the node's own.
//!
//! ```text
//! node ◄── pod ◄── secret, config map, claim ◄── volume
//!           └◄── service account (its tokens)
//! ```

use std::sync::Arc;

use serde_json::Value;

use super::rule::Rule;
use crate::authz::Attributes;
use crate::objects::Lookup;

const UNRELATED: &str = "no relationship found between node";

/// Whether the node may; or why not.
pub(super) fn decide(objects: &dyn Lookup, node: &str, rules: &[Arc<Rule>], request: &Attributes<'_>) -> Result<(), String> {
    let reads = matches!(request.verb, "get" | "list" | "watch");
    let related = |is: bool| if is { Ok(()) } else { Err(format!("{UNRELATED} '{node}' and this object")) };
    let uses = |refers: &dyn Fn(&Value) -> bool| related(pods(objects, node, request.namespace).any(|pod| refers(&pod)));
    let by_name = || if request.name.is_empty() { Err("No Object name found".to_owned()) } else { Ok(()) };
    match (request.group, request.resource, request.subresource) {
        ("", "secrets" | "configmaps", sub) => {
            if !reads || !sub.is_empty() {
                return Err(format!("can only read resources of this type: {}", request.resource));
            }
            if request.namespace.is_empty() {
                return Err("can only read namespaced object of this type".to_owned());
            }
            by_name()?;
            let secret = request.resource == "secrets";
            uses(&|pod| refers(&pod["spec"], secret, request.name))
        }
        ("", "persistentvolumeclaims", "" | "status") => {
            let allowed = if request.subresource.is_empty() { request.verb == "get" } else { matches!(request.verb, "update" | "patch") };
            if !allowed {
                return Err("can only get individual resources of this type".to_owned());
            }
            by_name()?;
            uses(&|pod| claims(pod).any(|claim| claim == request.name))
        }
        ("", "persistentvolumes", "") if request.verb == "get" => {
            by_name()?;
            let volume = objects.get("", "persistentvolumes", "", request.name);
            let claim = volume.as_deref().map(|volume| &volume["spec"]["claimRef"]).filter(|claim| claim.is_object());
            let text = |claim: &Value, field: &str| claim[field].as_str().unwrap_or_default().to_owned();
            let of = claim.map(|claim| (text(claim, "namespace"), text(claim, "name")));
            related(of.is_some_and(|(namespace, name)| pods(objects, node, &namespace).any(|pod| claims(&pod).any(|claim| claim == name))))
        }
        ("", "persistentvolumes", _) => Err("can only get individual resources of this type".to_owned()),
        ("", "serviceaccounts", "token") if request.verb == "create" => {
            by_name()?;
            uses(&|pod| pod["spec"]["serviceAccountName"] == request.name)
        }
        ("", "serviceaccounts", "") if request.verb == "get" => {
            by_name()?;
            uses(&|pod| pod["spec"]["serviceAccountName"] == request.name)
        }
        ("", "serviceaccounts", _) => Err("can only create tokens for individual service accounts".to_owned()),
        ("coordination.k8s.io", "leases", _) if request.namespace != "kube-node-lease" => {
            Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned())
        }
        ("coordination.k8s.io", "leases", _) => own(node, rules, request, "lease"),
        ("storage.k8s.io", "csinodes", _) => own(node, rules, request, "CSINode"),
        _ if rules.iter().any(|rule| rule.allows(request)) => Ok(()),
        _ => Err(String::new()),
    }
}

/// An object that bears the node's name; of a new one the name is not known yet.
fn own(node: &str, rules: &[Arc<Rule>], request: &Attributes<'_>, what: &str) -> Result<(), String> {
    if !matches!(request.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err(format!("can only get, create, update, patch, or delete a {what}"));
    }
    if request.verb != "create" && request.name != node {
        return Err(format!("can only access {what} with the same name as the requesting node"));
    }
    if rules.iter().any(|rule| rule.allows(request)) { Ok(()) } else { Err(String::new()) }
}

/// The pods of a namespace that are bound to the node.
fn pods(objects: &dyn Lookup, node: &str, namespace: &str) -> impl Iterator<Item = Arc<Value>> {
    objects.list("", "pods", namespace).into_iter().filter(move |pod| pod["spec"]["nodeName"] == node)
}

/// The claims of a pod's volumes, those made for the pod among them.
fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    pod["spec"]["volumes"].as_array().into_iter().flatten().filter_map(move |volume| {
        if volume["ephemeral"].is_object() {
            return Some(format!("{pod_name}-{}", volume["name"].as_str().unwrap_or_default()));
        }
        volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)
    })
}

/// Whether a part of a pod names the secret, or else the config map: a reference is told by the name of its field.
fn refers(part: &Value, secret: bool, name: &str) -> bool {
    match part {
        Value::Array(items) => items.iter().any(|item| refers(item, secret, name)),
        Value::Object(map) => map.iter().any(|(field, value)| {
            let fits = if secret {
                matches!(field.as_str(), "secret" | "secretKeyRef") || field.ends_with("ecretRef")
            } else {
                matches!(field.as_str(), "configMap" | "configMapRef" | "configMapKeyRef")
            };
            let pulled =
                secret && field == "imagePullSecrets" && value.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == name));
            pulled || (fits && (value["name"] == name || value["secretName"] == name)) || refers(value, secret, name)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::objects::testing::Fixture;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("get", "secrets", "y", "env", "")]
    #[case("watch", "secrets", "y", "vol", "")]
    #[case("get", "secrets", "y", "pull", "")]
    #[case("get", "secrets", "y", "csi", "")]
    #[case("get", "configmaps", "y", "cm", "")]
    #[case("get", "persistentvolumeclaims", "y", "claim", "")]
    #[case("get", "persistentvolumeclaims", "y", "p-scratch", "")]
    #[case("get", "persistentvolumes", "", "pv", "")]
    #[case("create", "serviceaccounts/token", "y", "sa", "")]
    #[case("get", "pods", "y", "p", "")]
    #[case("get", "secrets", "y", "cm", "no relationship found between node 'n' and this object")]
    #[case("get", "secrets", "z", "env", "no relationship found between node 'n' and this object")]
    #[case("get", "secrets", "y", "elsewhere", "no relationship found between node 'n' and this object")]
    #[case("list", "secrets", "y", "", "No Object name found")]
    #[case("list", "secrets", "", "", "can only read namespaced object of this type")]
    #[case("update", "secrets", "y", "env", "can only read resources of this type: secrets")]
    #[case("list", "persistentvolumeclaims", "y", "", "can only get individual resources of this type")]
    #[case("get", "persistentvolumes", "", "other", "no relationship found between node 'n' and this object")]
    #[case("create", "serviceaccounts/token", "y", "default", "no relationship found between node 'n' and this object")]
    #[case("delete", "deployments", "y", "d", "-")]
    fn related(#[case] verb: &str, #[case] resource: &str, #[case] namespace: &str, #[case] name: &str, #[case] wanted: &str) {
        let spec = json!({"nodeName": "n", "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}], "envFrom": [{"configMapRef": {"name": "cm"}}]}],
            "volumes": [{"secret": {"secretName": "vol"}}, {"csi": {"nodePublishSecretRef": {"name": "csi"}}},
                {"persistentVolumeClaim": {"claimName": "claim"}}, {"name": "scratch", "ephemeral": {}}]});
        let elsewhere = json!({"nodeName": "m", "volumes": [{"secret": {"secretName": "elsewhere"}}]});
        let objects = Fixture::with(&[
            ("", "pods", json!({"metadata": {"name": "p", "namespace": "y"}, "spec": spec})),
            ("", "pods", json!({"metadata": {"name": "q", "namespace": "y"}, "spec": elsewhere})),
            ("", "persistentvolumes", json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "y", "name": "claim"}}})),
            ("", "persistentvolumes", json!({"metadata": {"name": "other"}, "spec": {}})),
        ]);
        let rules: Vec<_> = crate::bootstrap::node_rules().into_iter().map(Arc::new).collect();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = if resource == "deployments" { "apps" } else { "" };
        let request = Attributes { verb, group, version: "v1", resource, subresource, namespace, name, path: "" };
        let decided = decide(&*objects, "n", &rules, &request);
        match wanted {
            "" => assert_eq!(decided, Ok(())),
            "-" => assert_eq!(decided, Err(String::new())),
            why => assert_eq!(decided, Err(why.to_owned())),
        }
    }

    #[test]
    fn leases_bear_the_nodes_name() {
        let objects = Fixture::default();
        let rules: Vec<_> = crate::bootstrap::node_rules().into_iter().map(Arc::new).collect();
        let may = |verb, namespace, name| {
            let request = Attributes {
                verb,
                group: "coordination.k8s.io",
                version: "v1",
                resource: "leases",
                namespace,
                name,
                ..Attributes::default()
            };
            decide(&objects, "n", &rules, &request).is_ok()
        };
        assert!(may("create", "kube-node-lease", "") && may("update", "kube-node-lease", "n"));
        assert!(!may("update", "kube-node-lease", "m") && !may("get", "default", "n") && !may("list", "kube-node-lease", ""));
    }
}
