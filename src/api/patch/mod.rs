//! The three patches a client can send: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch.
//! Server-side apply is in `apply`.

mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::schema;
use crate::status::Status;
pub use strategic::{go, strategic};

/// What all copies of a JSON patch together may add, as upstream limits it: a request's largest size.
const MOST_COPIED: usize = 3 << 20;

/// The deepest nesting that a JSON patch may make: readers stop at 128.
const DEEPEST: usize = 120;

/// The most operations a JSON patch may have, as upstream limits it.
const MOST_OPERATIONS: usize = 10_000;

/// A JSON patch applied to a copy of `document`.
pub fn json(document: &Value, patch: &Value) -> Result<Value, Status> {
    if let Some(operations) = patch.as_array()
        && operations.len() > MOST_OPERATIONS
    {
        return Err(Status::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let items = patch.as_array().map(Vec::as_slice);
    if !items.is_some_and(|items| items.iter().all(Value::is_object)) {
        let (found, wanted) = match items.and_then(|items| items.iter().find(|item| !item.is_object())) {
            None => (schema::json_name(patch), "jsonpatch.Patch"),
            Some(item) => (schema::json_name(item), "jsonpatch.Operation"),
        };
        return Err(Status::bad_request(format!("error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}")));
    }
    // What is no operation is found out by applying it.
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|_| rejected())?;
    let mut out = document.clone();
    let mut copied = 0;
    for operation in &patch.0 {
        let source = match operation {
            PatchOperation::Add(add) => Some((&add.value, &add.path)),
            PatchOperation::Replace(replace) => Some((&replace.value, &replace.path)),
            PatchOperation::Copy(copy) => out.pointer(copy.from.as_str()).map(|value| (value, &copy.path)),
            PatchOperation::Move(moved) => out.pointer(moved.from.as_str()).map(|value| (value, &moved.path)),
            _ => None,
        };
        if let Some((value, path)) = source {
            if matches!(operation, PatchOperation::Copy(_)) {
                copied += value.to_string().len();
            }
            if copied > MOST_COPIED || is_deeper(value, DEEPEST.saturating_sub(path.tokens().count())) {
                return Err(rejected());
            }
        }
        json_patch::patch(&mut out, std::slice::from_ref(operation)).map_err(|_| rejected())?;
    }
    Ok(out)
}

/// Whether a value nests deeper than so many levels.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let inner = |value: &Value| levels == 0 || is_deeper(value, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(inner),
        Value::Object(map) => map.values().any(inner),
        _ => false,
    }
}

/// Upstream's answer to a JSON patch that does not apply.
fn rejected() -> Status {
    Status::new(422, "Invalid", "the server rejected our request due to an error in our request").with_details(serde_json::json!({}))
}

/// A merge patch: objects merge, null deletes, everything else replaces.
pub fn merge(document: &mut Value, patch: &Value) {
    json_patch::merge(document, patch);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patch_applies_in_order() {
        let patch = json!([{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "/a", "value": 2}, {"op": "add", "path": "/l/-", "value": 3}]);
        assert_eq!(json(&json!({"a": 1, "l": []}), &patch).unwrap(), json!({"a": 2, "l": [3]}));
        let failed = json(&json!({"a": 9, "l": []}), &patch).unwrap_err();
        assert_eq!((failed.code, failed.reason.as_str()), (422, "Invalid"));
        assert_eq!(json(&json!({}), &json!([{"op": "remove", "path": "/none"}])).unwrap_err().code, 422);
        let no_list = json(&json!({}), &json!({"op": "x"})).unwrap_err();
        assert_eq!(
            (no_list.code, &*no_list.message),
            (400, "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        );
        assert_eq!(json(&json!({}), &json!([{"op": "x", "path": "/a"}])).unwrap_err().code, 422);
    }

    #[test]
    fn a_json_patch_does_not_make_much_of_little() {
        let doubling: Vec<Value> = (0..40).map(|at| json!({"op": "copy", "from": "/a", "path": format!("/a/{at}")})).collect();
        assert_eq!(json(&json!({"a": {"k": "v"}}), &Value::from(doubling)).unwrap_err().code, 422);
        let step = |from: &str, to: &str| {
            let (target, moved) = (format!("/{to}"), format!("/{to}/{from}"));
            [json!({"op": "add", "path": target, "value": {}}), json!({"op": "move", "from": format!("/{from}"), "path": moved})]
        };
        let (deep, path) = ("[".repeat(100) + &"]".repeat(100), "/a".repeat(100));
        let adds = (1..=100).map(|at| json!({"op": "add", "path": &path[..at * 2], "value": {}}));
        let last = json!({"op": "add", "path": format!("{path}/b"), "value": serde_json::from_str::<Value>(&deep).unwrap()});
        let adds: Vec<Value> = adds.chain([last]).collect();
        assert_eq!(json(&json!({}), &Value::from(adds)).unwrap_err().code, 422);
        let nesting: Vec<Value> = (0..2_000).flat_map(|at| if at % 2 == 0 { step("a", "b") } else { step("b", "a") }).collect();
        assert_eq!(json(&json!({"a": {}}), &Value::from(nesting)).unwrap_err().code, 422);
    }

    #[test]
    fn merge_patch_deletes_with_null() {
        let mut document = json!({"a": {"b": 1, "c": 2}, "l": [1]});
        merge(&mut document, &json!({"a": {"b": null, "d": {"e": null}}, "l": [2, 3]}));
        assert_eq!(document, json!({"a": {"c": 2, "d": {}}, "l": [2, 3]}));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The merge patch that leads from one document to another.
    fn difference(from: &Value, to: &Value) -> Value {
        let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
        let mut out = serde_json::Map::new();
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            out.insert(key.clone(), Value::Null);
        }
        for (key, value) in new {
            match old.get(key) {
                Some(before) if before == value => {}
                Some(before) if before.is_object() && value.is_object() => {
                    out.insert(key.clone(), difference(before, value));
                }
                _ => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
        Value::Object(out)
    }

    proptest! {
        #[test]
        fn a_difference_merges_into_the_other_document(from in value(), to in value()) {
            let mut document = from.clone();
            merge(&mut document, &difference(&from, &to));
            prop_assert_eq!(document, to);
        }
    }
}
