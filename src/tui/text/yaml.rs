//! Objects as YAML: printing, reading what was edited, finding fields, and the smallest patch between two of them.

use base64::Engine;
use serde_json::{Map, Value};

/// What is wrong with a text, and where: line and column from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1; 0 if unknown.
    pub column: usize,
    /// In words.
    pub message: String,
}

/// An object as kubectl prints it.
pub fn print(object: &Value) -> String {
    coracle_api::yaml::to_string(object)
}

/// Reads one object.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<Value, Mistake> {
    let mut documents = coracle_api::yaml::documents(text).into_iter();
    let mistake = |line, column, message: &str| Mistake { line, column, message: message.to_owned() };
    match (documents.next(), documents.next()) {
        (Some(Err(error)), _) => Err(mistake(error.line, error.column, &error.message)),
        (Some(Ok(document)), None) if document.value.is_object() => Ok(document.value),
        (Some(Ok(_)), Some(Ok(second))) => Err(mistake(second.line, 1, "there is more than one object")),
        (Some(Ok(_)), Some(Err(error))) => Err(mistake(error.line, error.column, &error.message)),
        (Some(Ok(_)) | None, _) => Err(mistake(1, 1, "this is no object")),
    }
}

/// An object without its managed fields.
pub fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// What a person edits: without what the server owns.
pub fn editable(object: &Value) -> Value {
    let mut object = without_managed_fields(object);
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"] {
            metadata.remove(field);
        }
        // kubectl's copy of what it applied last: long, and nobody edits it
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// A secret with its data readable.
pub fn decoded(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) else { return object };
    for value in data.values_mut() {
        if let Some(text) = value.as_str().and_then(decode_base64).and_then(|bytes| String::from_utf8(bytes).ok()) {
            *value = Value::String(text);
        }
    }
    object
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()
}

/// The JSON merge patch that makes `new` of `old`; `None` if they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Some(old_map), Some(new_map)) = (old.as_object(), new.as_object()) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (field, value) in new_map {
        match old_map.get(field) {
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(field.clone(), change);
                }
            }
            None => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    for field in old_map.keys().filter(|field| !new_map.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Fields that both patches change, to different values.
pub fn collisions(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collide(ours, theirs, "", &mut found);
    found
}

fn collide(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours.as_object(), theirs.as_object()) {
        (Some(ours), Some(theirs)) => {
            for (field, value) in ours {
                if let Some(other) = theirs.get(field) {
                    let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                    collide(value, other, &path, found);
                }
            }
        }
        _ if ours != theirs => found.push(path.to_owned()),
        _ => {}
    }
}

/// The line, from 1, a field such as `spec.containers[0].image` stands on, or the nearest field around it.
pub fn line_of(text: &str, field: &str) -> usize {
    coracle_api::yaml::locate(text, 0, field).map_or(1, |(line, _)| line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_are_placed() {
        let mistake = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(mistake.line >= 2, "{mistake:?}");
        assert_eq!(line_of("a: 1\nb:\n- c: 2\n  d: 3\n", "b[0].d"), 4);
        assert_eq!(read("just text").unwrap_err().message, "this is no object");
    }

    #[test]
    fn what_the_server_or_kubectl_owns_is_not_edited() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "managedFields": [],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "spec": {}, "status": {}});
        assert_eq!(editable(&object), json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {}}));
    }

    #[test]
    fn two_edits_collide_only_where_they_differ() {
        let ours = json!({"spec": {"replicas": 3, "paused": true}});
        let theirs = json!({"spec": {"replicas": 5, "template": {}}});
        assert_eq!(collisions(&ours, &theirs), ["spec.replicas"]);
        assert!(collisions(&ours, &ours).is_empty());
    }

    #[test]
    fn secrets_are_decoded_and_broken_ones_left() {
        let secret = json!({"data": {"a": "aGVsbG8=", "b": "!!", "c": "/w=="}});
        assert_eq!(decoded(&secret), json!({"data": {"a": "hello", "b": "!!", "c": "/w=="}}));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from), "[a-z]{0,4}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn apply(target: &mut Value, patch: &Value) {
        let Some(patch) = patch.as_object() else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let map = target.as_object_mut().unwrap();
        for (field, value) in patch {
            if value.is_null() {
                map.remove(field);
            } else {
                apply(map.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
    }

    proptest! {
        #[test]
        fn the_patch_makes_the_new_of_the_old(old in value(), new in value()) {
            let (old, new) = (json!({"x": old}), json!({"x": new}));
            let mut patched = old.clone();
            match merge_patch(&old, &new) {
                Some(patch) => apply(&mut patched, &patch),
                None => prop_assert_eq!(&old, &new),
            }
            prop_assert_eq!(patched, new);
        }
    }
}
