//! What belongs to what: owners, references and selectors among the objects of a namespace.

use serde_json::Value;

use super::call::Call;
use super::fault::Fault;
use super::work::Outside;
use crate::actions::object::selector;
use crate::kinds::{Kinds, Target};

/// Kinds whose objects are related to each other, by plural name.
const RELATED: &[&str] = &[
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "serviceaccounts",
    "deployments",
    "replicasets",
    "statefulsets",
    "daemonsets",
    "jobs",
    "cronjobs",
    "ingresses",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
];

/// An object, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Kind, namespace, name.
    pub target: Target,
    /// The whole of it.
    pub value: Value,
}

/// How one thing is bound to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Kind of what is meant.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// It need not exist.
    pub optional: bool,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The objects of a namespace that are related to each other. Kinds that may not be read are left out.
pub async fn gather(outside: &Outside, kinds: &Kinds, namespace: Option<&str>) -> Result<Vec<Object>, Fault> {
    let known: Vec<_> = RELATED.iter().filter_map(|plural| kinds.find(plural)).collect();
    let lists = futures::future::join_all(known.iter().map(|kind| outside.ask(Call::get(kind.path(namespace))))).await;
    let mut found = Vec::new();
    let mut failed = None;
    for (kind, answer) in known.into_iter().zip(lists) {
        match answer {
            Ok(answer) => {
                for item in list(&answer, "/items") {
                    let mut value = item.clone();
                    value["apiVersion"] = kind.api_version().into();
                    value["kind"] = kind.kind.clone().into();
                    let target =
                        Target { kind: kind.clone(), namespace: text(item, "/metadata/namespace"), name: text(item, "/metadata/name") };
                    found.push(Object { target, value });
                }
            }
            Err(fault) if fault.is_connection() => failed = Some(fault),
            Err(_) => {}
        }
    }
    match failed {
        Some(fault) if found.is_empty() => Err(fault),
        _ => Ok(found),
    }
}

/// What goes with these objects when they are deleted: what they own, and what that owns.
pub fn dependents<'a>(targets: &[Target], all: &'a [Object]) -> Vec<&'a Object> {
    let uid = |target: &Target| all.iter().find(|object| object.target == *target).map(|object| text(&object.value, "/metadata/uid"));
    let mut owners: Vec<String> = targets.iter().filter_map(uid).collect();
    let mut found: Vec<&Object> = Vec::new();
    loop {
        let owned = |object: &&Object| {
            list(&object.value, "/metadata/ownerReferences").any(|owner| owners.contains(&text(owner, "/uid")))
                && !targets.contains(&object.target)
                && !found.iter().any(|known| known.target == object.target)
        };
        let next: Vec<&Object> = all.iter().filter(owned).collect();
        if next.is_empty() {
            return found;
        }
        owners.extend(next.iter().map(|object| text(&object.value, "/metadata/uid")));
        found.extend(next);
    }
}

/// What a pod, or a template of pods, refers to.
pub fn references(object: &Value) -> Vec<Reference> {
    let mut found: Vec<Reference> = Vec::new();
    let mut add = |kind: &'static str, name: String, optional: bool| {
        if !name.is_empty() && !found.iter().any(|known| known.kind == kind && known.name == name) {
            found.push(Reference { kind, name, optional });
        }
    };
    if let Some(spec) =
        ["/spec/jobTemplate/spec/template/spec", "/spec/template/spec", "/spec"].iter().find_map(|path| object.pointer(path))
    {
        let optional = |value: &Value| value.get("optional").and_then(Value::as_bool).unwrap_or_default();
        for volume in list(spec, "/volumes") {
            let sources = std::iter::once(volume).chain(list(volume, "/projected/sources"));
            for source in sources {
                for (field, name, kind) in [
                    ("configMap", "/name", "configmaps"),
                    ("secret", "/secretName", "secrets"),
                    ("secret", "/name", "secrets"),
                    ("persistentVolumeClaim", "/claimName", "persistentvolumeclaims"),
                ] {
                    if let Some(inner) = source.get(field) {
                        add(kind, text(inner, name), optional(inner));
                    }
                }
            }
        }
        for container in list(spec, "/containers").chain(list(spec, "/initContainers")) {
            for from in list(container, "/env").filter_map(|env| env.get("valueFrom")).chain(list(container, "/envFrom")) {
                for (field, kind) in [
                    ("configMapKeyRef", "configmaps"),
                    ("configMapRef", "configmaps"),
                    ("secretKeyRef", "secrets"),
                    ("secretRef", "secrets"),
                ] {
                    if let Some(inner) = from.get(field) {
                        add(kind, text(inner, "/name"), optional(inner));
                    }
                }
            }
        }
        for secret in list(spec, "/imagePullSecrets") {
            add("secrets", text(secret, "/name"), true);
        }
        add("serviceaccounts", text(spec, "/serviceAccountName"), false);
        add("priorityclasses", text(spec, "/priorityClassName"), true);
        for backend in list(spec, "/rules").flat_map(|rule| list(rule, "/http/paths")).filter_map(|path| path.get("backend")) {
            add("services", text(backend, "/service/name"), false);
        }
        for tls in list(spec, "/tls") {
            add("secrets", text(tls, "/secretName"), true);
        }
    }
    found
}

/// Whether labels are what a service or a workload selects.
pub fn selects(object: &Value, labels: Option<&Value>) -> bool {
    let Some(selector) = selector(object) else { return false };
    selector.split(',').all(|term| {
        term.split_once('=').is_some_and(|(key, value)| labels.and_then(|labels| labels.get(key)).is_some_and(|own| own == value))
    })
}

/// What hangs below an object: what it owns, what its selector finds, what it refers to. `None`: referred to, but missing.
pub fn children<'a>(object: &Object, all: &'a [Object]) -> Vec<(Option<&'a Object>, Reference)> {
    let uid = object.value.pointer("/metadata/uid");
    let mut found: Vec<(Option<&Object>, Reference)> = Vec::new();
    let named = |target: &Target| Reference { kind: "", name: target.name.clone(), optional: false };
    for other in all.iter().filter(|other| other.target.namespace == object.target.namespace) {
        let owned = list(&other.value, "/metadata/ownerReferences").any(|owner| owner.get("uid").is_some() && owner.get("uid") == uid);
        let selected = object.target.kind.plural == "services"
            && other.target.kind.plural == "pods"
            && selects(&object.value, other.value.pointer("/metadata/labels"));
        let scaled = object.target.kind.plural == "horizontalpodautoscalers"
            && text(&object.value, "/spec/scaleTargetRef/name") == other.target.name
            && text(&object.value, "/spec/scaleTargetRef/kind") == other.target.kind.kind;
        if owned || selected || scaled {
            found.push((Some(other), named(&other.target)));
        }
    }
    if matches!(object.target.kind.plural.as_str(), "pods" | "ingresses") || found.is_empty() && object.target.kind.is_workload() {
        for reference in references(&object.value) {
            let other = all.iter().find(|other| {
                other.target.kind.plural == reference.kind
                    && other.target.name == reference.name
                    && other.target.namespace == object.target.namespace
            });
            let known = RELATED.contains(&reference.kind);
            if other.is_some() || (known && !reference.optional) {
                found.push((other, reference));
            }
        }
    }
    found
}

/// What refers to an object, owns it or selects it.
pub fn users<'a>(target: &Target, all: &'a [Object]) -> Vec<&'a Object> {
    all.iter()
        .filter(|other| other.target.namespace == target.namespace || target.namespace.is_empty())
        .filter(|other| {
            references(&other.value).iter().any(|reference| reference.kind == target.kind.plural && reference.name == target.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn object(kind: &str, value: Value) -> Object {
        let kind = Kinds::first().find(kind).unwrap();
        Object { target: Target { kind, namespace: "shop".into(), name: value["metadata"]["name"].as_str().unwrap().into() }, value }
    }

    #[test]
    fn a_pod_hangs_below_its_owner_and_its_service_and_refers_to_what_it_mounts() {
        let set = object("rs", json!({"metadata": {"name": "web", "uid": "1"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}));
        let service = object("svc", json!({"metadata": {"name": "web", "uid": "2"}, "spec": {"selector": {"app": "web"}}}));
        let settings = object("cm", json!({"metadata": {"name": "settings", "uid": "3"}}));
        let pod = object(
            "pods",
            json!({"metadata": {"name": "web-1", "uid": "4", "labels": {"app": "web"}, "ownerReferences": [{"uid": "1"}]}, "spec": {
                "volumes": [{"configMap": {"name": "settings"}}, {"secret": {"secretName": "gone"}}, {"secret": {"secretName": "maybe", "optional": true}}]}}),
        );
        let all = [set.clone(), service.clone(), settings.clone(), pod.clone()];
        assert_eq!(children(&set, &all)[0].0, Some(&pod));
        assert_eq!(children(&service, &all)[0].0, Some(&pod));
        let below = children(&pod, &all);
        let below: Vec<(bool, &str)> = below.iter().map(|(other, reference)| (other.is_some(), reference.name.as_str())).collect();
        assert_eq!(below, [(true, "settings"), (false, "gone")]);
        assert_eq!(users(&settings.target, &all), [&pod]);
    }
}
