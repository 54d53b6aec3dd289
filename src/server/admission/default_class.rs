//! DefaultStorageClass and DefaultIngressClass: a claim or an ingress that names no class gets the default one.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::{Request, text};
use crate::objects::Lookup;

const OLD_STORAGE: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_INGRESS: &str = "kubernetes.io/ingress.class";

pub(super) fn fill(lookup: &dyn Lookup, request: &Request<'_>, object: &mut Value) {
    let annotated = |object: &Value, key: &str| object.pointer("/metadata/annotations").is_some_and(|all| all.get(key).is_some());
    if request.creates("", "persistentvolumeclaims") {
        let named = object.pointer("/spec/storageClassName").is_some_and(|name| !name.is_null());
        if !named && !annotated(object, OLD_STORAGE) {
            let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
            set(object, "storageClassName", default(lookup, ("storage.k8s.io", "storageclasses"), &marks));
        }
    } else if request.creates("networking.k8s.io", "ingresses") {
        let named = object.pointer("/spec/ingressClassName").is_some_and(|name| !name.is_null());
        if !named && !annotated(object, OLD_INGRESS) {
            let mark = ["ingressclass.kubernetes.io/is-default-class"];
            set(object, "ingressClassName", default(lookup, ("networking.k8s.io", "ingressclasses"), &mark));
        }
    }
}

fn set(object: &mut Value, field: &str, class: Option<String>) {
    if let Some(class) = class {
        object["spec"][field] = json!(class);
    }
}

/// The newest class marked as default, the first by name among equally new ones.
fn default(lookup: &dyn Lookup, (group, plural): (&str, &str), marks: &[&str]) -> Option<String> {
    let classes = lookup.list(group, plural, "");
    let marked = |class: &Value| {
        marks.iter().any(|mark| class.pointer("/metadata/annotations").and_then(|all| all.get(*mark)) == Some(&json!("true")))
    };
    classes
        .iter()
        .filter(|class| marked(class))
        .min_by_key(|class| (Reverse(text(class, "/metadata/creationTimestamp").to_owned()), text(class, "/metadata/name").to_owned()))
        .map(|class| text(class, "/metadata/name").to_owned())
}
