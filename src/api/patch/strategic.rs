//! Strategic merge patch: a merge patch that knows which lists merge by key, and takes directives
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`).

use serde_json::{Map, Value};

use crate::schema::{Field, Type};
use crate::status::Status;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Patched<T> = Result<T, Status>;

fn invalid<T>(message: impl Into<String>) -> Patched<T> {
    Err(Status::bad_request(message))
}

/// Upstream answers some broken patches as if it were to blame.
fn failed<T>(message: String) -> Patched<T> {
    Err(Status::new(500, "", message))
}

fn without_merge_key<T>(item: &Value, key: &str) -> Patched<T> {
    failed(format!("map: {} does not contain declared merge key: {key}", go(item)))
}

/// A value as Go prints it.
pub fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// Applies a strategic merge patch to an object of type `ty`.
pub fn strategic(document: &mut Value, patch: &Value, ty: &Type) -> Result<(), Status> {
    let Value::Object(patch) = patch else { return invalid("error decoding patch: json: cannot unmarshal into a map") };
    let Value::Object(document) = document else { return invalid("unable to find api field in the patched document") };
    let merged = merge_map(std::mem::take(document), patch, Some(ty))?;
    *document = merged;
    Ok(())
}

/// A patch's value where the document has none: its directives mean nothing there.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            if map.get(PATCH).is_some_and(|directive| directive == "delete") {
                return None;
            }
            let kept = map.iter().filter(|(key, _)| !is_directive(key));
            Some(Value::Object(kept.filter_map(|(key, value)| Some((key.clone(), without_directives(value)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(without_directives).collect())),
        other => Some(other.clone()),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(ORDER) || key.starts_with(DELETE_FROM)
}

fn merge_map(mut document: Map<String, Value>, patch: &Map<String, Value>, ty: Option<&Type>) -> Patched<Map<String, Value>> {
    match patch.get(PATCH).map(|directive| directive.as_str()) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            let mut new = patch.clone();
            new.remove(PATCH);
            return Ok(new);
        }
        Some(Some("delete")) => return Ok(Map::new()),
        Some(Some(other)) => return failed(format!("Unknown patch type found: {other}")),
        Some(None) => return invalid("json: cannot unmarshal $patch directive into a string"),
    }
    if let Some(retain) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut document, patch, retain)?;
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            delete_from(&mut document, list, value)?;
        } else if let Some(list) = key.strip_prefix(ORDER) {
            // A list that is patched too is put in order with its patch.
            if !patch.contains_key(list) {
                let field = ty.and_then(|ty| ty.field(list));
                if let Some(Value::Array(items)) = document.get_mut(list) {
                    let before = items.clone();
                    *items = ordered(std::mem::take(items), &before, elements(list, value)?, merge_key(field));
                }
            }
        } else if !is_directive(key) {
            let order = patch.get(&format!("{ORDER}{key}")).map(|order| elements(key, order)).transpose()?;
            let field = ty.and_then(|ty| ty.field(key));
            merge_field(&mut document, key, value, field, order)?;
        }
    }
    Ok(document)
}

fn merge_field(document: &mut Map<String, Value>, key: &str, value: &Value, field: Option<&Field>, order: Option<&[Value]>) -> Patched<()> {
    let merged = match (document.remove(key), value) {
        (_, Value::Null) => None,
        (Some(Value::Object(before)), Value::Object(patch)) => {
            // Maps of structures merge by key, their values by the structure's rules.
            let ty =
                field.and_then(Field::object).filter(|_| field.is_some_and(|field| matches!(field.shape, crate::schema::Shape::Object(_))));
            let deleted = patch.get(PATCH).is_some_and(|directive| directive == "delete");
            let merged = merge_map(before, patch, ty)?;
            if deleted { None } else { Some(Value::Object(merged)) }
        }
        (Some(Value::Array(before)), Value::Array(patch)) if field.is_some_and(|field| field.patch_merge) => {
            Some(Value::Array(merge_list(before, patch, field, order)?))
        }
        (None, Value::Array(patch)) if field.is_some_and(|field| field.patch_merge) => {
            Some(Value::Array(merge_list(Vec::new(), patch, field, order)?))
        }
        (_, Value::Array(patch)) => {
            let replaced = patch.iter().any(|item| item.get(PATCH).is_some());
            let items = patch.iter().filter(|item| !(replaced && is_bare_directive(item)));
            Some(Value::Array(items.filter_map(without_directives).collect()))
        }
        (_, other) => without_directives(other),
    };
    if let Some(merged) = merged {
        document.insert(key.to_owned(), merged);
    }
    Ok(())
}

fn is_bare_directive(item: &Value) -> bool {
    item.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(PATCH))
}

fn retain_keys(document: &mut Map<String, Value>, patch: &Map<String, Value>, retain: &Value) -> Patched<()> {
    let Some(retain) = retain.as_array() else { return invalid("invalid patch format of $retainKeys") };
    let retained = |key: &str| retain.iter().any(|own| own.as_str() == Some(key));
    if let Some(key) = patch.iter().find(|(key, value)| !is_directive(key) && !value.is_null() && !retained(key)).map(|(key, _)| key) {
        return invalid(format!("$retainKeys list must contain all fields present in the patch, {key:?} is missing"));
    }
    document.retain(|key, _| retained(key));
    Ok(())
}

fn elements<'a>(list: &str, order: &'a Value) -> Patched<&'a [Value]> {
    order.as_array().map(Vec::as_slice).map_or_else(|| invalid(format!("invalid patch format of {ORDER}{list}: not a list")), Ok)
}

fn delete_from(document: &mut Map<String, Value>, list: &str, values: &Value) -> Patched<()> {
    let Some(values) = values.as_array() else { return invalid(format!("invalid patch format of {DELETE_FROM}{list}: not a list")) };
    if let Some(Value::Array(items)) = document.get_mut(list) {
        items.retain(|item| !values.contains(item));
        if items.is_empty() {
            document.remove(list);
        }
    }
    Ok(())
}

fn merge_key(field: Option<&Field>) -> &str {
    field.map_or("", |field| &*field.patch_key)
}

fn merge_list(before: Vec<Value>, patch: &[Value], field: Option<&Field>, order: Option<&[Value]>) -> Patched<Vec<Value>> {
    let key = merge_key(field);
    if key.is_empty() {
        return Ok(merge_scalars(before, patch, order));
    }
    let replace = patch.iter().any(|item| item.get(PATCH).is_some_and(|directive| directive == "replace"));
    if replace {
        return Ok(patch.iter().filter(|item| item.get(PATCH).is_none()).filter_map(without_directives).collect());
    }
    let ty = field.and_then(Field::object);
    let mut items = before.clone();
    let mut added = Vec::new();
    for item in patch {
        let Value::Object(item_patch) = item else { return without_merge_key(item, key) };
        let Some(id) = item_patch.get(key) else {
            return without_merge_key(item, key);
        };
        let place = items.iter().position(|own| own.get(key) == Some(id));
        match (item_patch.get(PATCH).and_then(Value::as_str), place) {
            (Some("delete"), _) => items.retain(|own| own.get(key) != Some(id)),
            (Some("merge") | None, Some(at)) => {
                if let Value::Object(own) = std::mem::take(&mut items[at]) {
                    items[at] = Value::Object(merge_map(own, item_patch, ty)?);
                }
            }
            (Some("merge") | None, None) => {
                let new = merge_map(Map::new(), item_patch, ty)?;
                added.push(id.clone());
                items.push(Value::Object(new));
            }
            (Some(other), _) => return failed(format!("Unknown patch type found: {other}")),
        }
    }
    // the patch's own order counts where none is given
    Ok(ordered(items, &before, order.unwrap_or(patch), key))
}

fn merge_scalars(before: Vec<Value>, patch: &[Value], order: Option<&[Value]>) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for item in before.iter().chain(patch) {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
    ordered(items, &before, order.unwrap_or(patch), "")
}

/// Puts items in the client's order. Items it does not know come before a known one only where both are in the live list
/// and stand so in it (upstream's `mergeSortedSlice`).
fn ordered(items: Vec<Value>, before: &[Value], order: &[Value], key: &str) -> Vec<Value> {
    let identity = |item: &Value| if key.is_empty() { item.clone() } else { item.get(key).cloned().unwrap_or(Value::Null) };
    let rank = |item: &Value| order.iter().position(|own| identity(own) == identity(item));
    let (mut known, unknown): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|item| rank(item).is_some());
    known.sort_by_key(|item| rank(item));
    let live = |item: &Value| before.iter().position(|own| identity(own) == identity(item));
    let mut out = Vec::with_capacity(known.len() + unknown.len());
    let mut known = known.into_iter().peekable();
    for item in unknown {
        let place = live(&item);
        while let Some(next) = known.next_if(|next| match (place, live(next)) {
            (Some(place), Some(next)) => next < place,
            _ => true,
        }) {
            out.push(next);
        }
        out.push(item);
    }
    out.extend(known);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::schema;

    fn patched(ty: &str, mut document: Value, patch: Value) -> Result<Value, Status> {
        strategic(&mut document, &patch, &schema::of(ty)).map(|()| document)
    }

    const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

    #[rstest]
    #[case::merges_by_name(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}),
        json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]}))]
    #[case::deletes_an_item(
        json!({"containers": [{"name": "a", "env": [{"name": "A"}, {"name": "B"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "A", "$patch": "delete"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "B"}]}]}))]
    #[case::replaces_a_list(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
        json!({"containers": [{"name": "c"}]}))]
    #[case::atomic_lists_replace(
        json!({"containers": [{"name": "a", "args": ["1", "2"]}]}),
        json!({"containers": [{"name": "a", "args": ["3"]}]}),
        json!({"containers": [{"name": "a", "args": ["3"]}]}))]
    #[case::puts_in_order(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "x"}]}),
        json!({"containers": [{"name": "b", "image": "x"}, {"name": "a"}]}))]
    #[case::order_alone(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": [{"name": "b"}, {"name": "a"}]}))]
    #[case::order_alone_leaves_what_the_client_does_not_know_where_it_is(
        json!({"volumes": [{"name": "a"}, {"name": "token"}, {"name": "b"}]}),
        json!({"$setElementOrder/volumes": [{"name": "a"}, {"name": "b"}]}),
        json!({"volumes": [{"name": "a"}, {"name": "token"}, {"name": "b"}]}))]
    #[case::what_is_new_comes_before_what_the_client_does_not_know(
        json!({"volumes": [{"name": "a"}, {"name": "token"}]}),
        json!({"$setElementOrder/volumes": [{"name": "a"}, {"name": "b"}], "volumes": [{"name": "b"}]}),
        json!({"volumes": [{"name": "a"}, {"name": "b"}, {"name": "token"}]}))]
    #[case::retains_keys(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}))]
    #[case::null_deletes(json!({"nodeName": "n", "hostname": "h"}), json!({"nodeName": null}), json!({"hostname": "h"}))]
    #[case::replaces_a_map(json!({"nodeSelector": {"a": "1"}}), json!({"nodeSelector": {"$patch": "replace", "b": "2"}}), json!({"nodeSelector": {"b": "2"}}))]
    #[case::deletes_a_map(json!({"nodeSelector": {"a": "1"}, "hostname": "h"}), json!({"nodeSelector": {"$patch": "delete"}}), json!({"hostname": "h"}))]
    #[case::new_values_lose_directives(json!({}), json!({"affinity": {"podAffinity": {"$retainKeys": ["x"], "x": null}}}), json!({"affinity": {"podAffinity": {}}}))]
    fn directives(#[case] document: Value, #[case] patch: Value, #[case] expected: Value) {
        assert_eq!(patched(POD_SPEC, document, patch).unwrap(), expected);
    }

    #[test]
    fn scalars_are_deleted_from_their_list() {
        let document = json!({"metadata": {"finalizers": ["x.io/a", "x.io/b"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/a"], "$setElementOrder/finalizers": ["x.io/c", "x.io/b"], "finalizers": ["x.io/c"]}});
        let expected = json!({"metadata": {"finalizers": ["x.io/c", "x.io/b"]}});
        assert_eq!(patched("io.k8s.api.core.v1.ConfigMap", document, patch).unwrap(), expected);
    }

    #[rstest]
    #[case(json!({"$patch": "explode"}), "Unknown patch type found: explode")]
    #[case(json!({"containers": [{"image": "x"}]}), "map: map[image:x] does not contain declared merge key: name")]
    fn complains(#[case] patch: Value, #[case] message: &str) {
        let error = patched(POD_SPEC, json!({"containers": []}), patch).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (500, message));
    }
}
