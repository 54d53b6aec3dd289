//! `metadata` of every kind.

use serde_json::Value;

use super::NameRule;
use super::check::{Errors, Path, Read, Seen};
use crate::names;

/// All keys and values of `metadata.annotations` together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks `metadata`; `name` is the kind's rule for names.
pub(crate) fn validate(object: &Value, namespaced: bool, name: NameRule, out: &mut Errors) {
    let path = Path::new("metadata");
    let meta = &object["metadata"];
    let prefix = meta.text("generateName");
    if !prefix.is_empty() {
        // a trailing dash is completed by the random characters
        let masked = match prefix.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => format!("{}a", &rest[..rest.len() - rest.chars().next_back().map_or(0, char::len_utf8)]),
            _ => prefix.to_owned(),
        };
        out.all(&path.child("generateName"), prefix, name(&masked));
    }
    match meta.text("name") {
        "" => out.required(path.child("name"), "name or generateName is required"),
        text => out.all(&path.child("name"), text, name(text)),
    }
    match (namespaced, meta.text("namespace")) {
        (true, "") => out.required(path.child("namespace"), ""),
        (true, text) => out.all(&path.child("namespace"), text, names::dns1123_label(text)),
        (false, "") => {}
        (false, _) => out.forbidden(path.child("namespace"), "not allowed on this type"),
    }
    out.non_negative(&path.child("generation"), meta.int("generation"));
    shared(meta, &path, out);
    finalizers(meta, &path.child("finalizers"), out);
}

/// Checks what an update did to `metadata`.
pub(crate) fn validate_update(new: &Value, old: &Value, out: &mut Errors) {
    let path = Path::new("metadata");
    let (new, old) = (&new["metadata"], &old["metadata"]);
    if old.has("deletionTimestamp") {
        let added: Vec<String> =
            new.items("finalizers").iter().filter(|f| !old.items("finalizers").contains(f)).map(ToString::to_string).collect();
        if !added.is_empty() {
            let added = added.join(", ");
            out.forbidden(
                path.child("finalizers"),
                format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added}}}"),
            );
        }
    }
    if new.int("generation").unwrap_or(0) < old.int("generation").unwrap_or(0) {
        out.invalid(path.child("generation"), new["generation"].clone(), "must not be decremented");
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        out.immutable(&path.child(key), &new[key], &old[key]);
    }
    shared(new, &path, out);
    finalizers(new, &path.child("finalizers"), out);
}

fn shared(meta: &Value, path: &Path, out: &mut Errors) {
    labels(&meta["labels"], &path.child("labels"), out);
    annotations(&meta["annotations"], &path.child("annotations"), out);
    owner_references(meta, path, out);
}

/// Labels of an object, a template or a node selector.
pub(crate) fn labels(labels: &Value, path: &Path, out: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        out.all(path, key.as_str(), names::qualified_name(key));
        let value = value.as_str().unwrap_or("");
        out.all(path, value, names::label_value(value));
    }
}

/// Annotations of an object or a template.
pub(crate) fn annotations(annotations: &Value, path: &Path, out: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        out.all(path, key.as_str(), names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().unwrap_or("").len();
    }
    if size > MAX_ANNOTATIONS {
        out.too_long(path, MAX_ANNOTATIONS);
    }
}

fn owner_references(meta: &Value, path: &Path, out: &mut Errors) {
    let mut controller: Option<&str> = None;
    for (at, reference) in meta.each("ownerReferences", path) {
        let (group, version) = crate::kinds::split_api_version(reference.text("apiVersion"));
        if version.is_empty() {
            out.invalid(at.child("apiVersion"), reference.text("apiVersion"), "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if reference.text(key).is_empty() {
                out.invalid(at.child(key), "", "must not be empty");
            }
        }
        if group.is_empty() && reference.text("kind") == "Event" {
            out.invalid(&at, reference.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if reference.yes("controller") {
            let name = reference.text("name");
            match controller {
                None => controller = Some(name),
                Some(first) => out.invalid(
                    path.child("ownerReferences"),
                    meta["ownerReferences"].clone(),
                    format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"),
                ),
            }
        }
    }
}

fn finalizers(meta: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for name in meta.items("finalizers").iter().filter_map(Value::as_str) {
        out.all(path, name, names::qualified_name(name));
        seen.first(name);
    }
    if seen.has("orphan") && seen.has("foregroundDeletion") {
        out.invalid(path, meta["finalizers"].clone(), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn is_plain(finalizer: &str) -> bool {
    !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion")
}

/// Finalizers of built-in kinds are standard ones or have a domain.
pub(crate) fn qualified_finalizers(object: &Value, out: &mut Errors) {
    let path = Path::new("metadata.finalizers");
    for (index, name) in object["metadata"].items("finalizers").iter().filter_map(Value::as_str).enumerate() {
        if is_plain(name) {
            out.invalid(path.index(index), name, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

/// Finalizers of custom resources should be so, too.
pub(crate) fn plain_finalizers(new: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map(|old| old["metadata"].items("finalizers")).unwrap_or_default();
    let added = new["metadata"].items("finalizers").iter().filter(|name| !before.contains(name)).filter_map(Value::as_str);
    let added: std::collections::BTreeSet<&str> = added.filter(|name| is_plain(name)).collect();
    let advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers";
    added.into_iter().map(|name| format!("metadata.finalizers: {name:?}: {advice}")).collect()
}
