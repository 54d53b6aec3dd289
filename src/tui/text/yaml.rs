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

/// An object as YAML.
pub fn print(object: &Value) -> String {
    serde_yaml::to_string(object).unwrap_or_default()
}

/// Reads one object.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<Value, Mistake> {
    match serde_yaml::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Mistake { line: 1, column: 1, message: "this is no object".to_owned() }),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 0), |location| (location.line(), location.column()));
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            Err(Mistake { line, column, message })
        }
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

/// The line (from 0) a field such as `spec.template.spec.containers[0].image` stands on, or the nearest field above it.
pub fn find_field(text: &str, field: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut from, mut to) = (0, lines.len());
    let mut found = None;
    for step in steps(field) {
        let Some(line) = find_step(&lines, from, to, &step) else { break };
        found = Some(line);
        let indent = indent_of(lines[line]);
        let is_item = lines[line].trim_start().starts_with("- ");
        from = if matches!(step, Step::Item(_)) { line } else { line + 1 };
        let ends = |other: &&str| {
            let depth = indent_of(other);
            let trimmed = other.trim_start();
            // the items of a list may stand as deep as its name
            let own_item = trimmed.starts_with('-') && !is_item && depth == indent;
            !trimmed.is_empty() && depth <= indent && !own_item
        };
        to = lines[line + 1..to].iter().position(ends).map_or(to, |at| line + 1 + at);
    }
    found
}

enum Step {
    Field(String),
    Item(usize),
}

fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']').unwrap_or((after, ""));
            steps.push(inside.parse().map_or_else(|_| Step::Field(inside.trim_matches('"').to_owned()), Step::Item));
            rest = after.trim_start_matches('.');
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        steps.push(Step::Field(rest[..end].to_owned()));
        rest = rest[end..].trim_start_matches('.');
    }
    steps
}

fn find_step(lines: &[&str], from: usize, to: usize, step: &Step) -> Option<usize> {
    let inside = lines.get(from..to)?;
    match step {
        Step::Field(name) => {
            let mut candidates = inside.iter().enumerate().filter_map(|(at, line)| {
                let trimmed = line.trim_start();
                let (key, extra) = match trimmed.strip_prefix("- ") {
                    Some(key) => (key.trim_start(), 2),
                    None => (trimmed, 0),
                };
                let named = key.strip_prefix(name.as_str()).is_some_and(|after| after.starts_with(':'));
                named.then(|| (indent_of(line) + extra, from + at))
            });
            // the shallowest one is ours
            let first = candidates.next()?;
            Some(candidates.fold(first, |best, next| if next.0 < best.0 { next } else { best }).1)
        }
        Step::Item(index) => {
            let depth = inside.iter().filter(|line| line.trim_start().starts_with('-')).map(|line| indent_of(line)).min()?;
            let mut items = inside.iter().enumerate().filter(|(_, line)| indent_of(line) == depth && line.trim_start().starts_with('-'));
            items.nth(*index).map(|(at, _)| from + at)
        }
    }
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const POD: &str = "kind: Deployment\nspec:\n  image: no\n  template:\n    spec:\n      containers:\n      - name: a\n        image: one\n      - image: two\n        name: b\n      volumes: []\n  replicas: 3\nstatus: {}\n";

    #[rstest]
    #[case("spec.replicas", 11)]
    #[case("spec.template.spec.containers[0].image", 7)]
    #[case("spec.template.spec.containers[1].image", 8)]
    #[case("spec.template.spec.containers[1].name", 9)]
    #[case("spec.template.spec.containers[0].ports[0].containerPort", 6)]
    #[case("spec.image", 2)]
    #[case("spec.template.spec.volumes", 10)]
    fn fields_are_found(#[case] field: &str, #[case] line: usize) {
        assert_eq!(find_field(POD, field), Some(line));
    }

    #[test]
    fn mistakes_are_placed() {
        let mistake = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(mistake.line >= 2, "{mistake:?}");
        assert_eq!(read("just text").unwrap_err().message, "this is no object");
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
