//! Sets of fields, as `metadata.managedFields[].fieldsV1` writes them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value, json};

/// A set of paths, as a tree. A step is written as in `fieldsV1`: `f:name`, `k:{"name":"c"}`, `v:"x"`, `i:0`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    children: BTreeMap<Box<str>, Branch>,
}

/// What hangs on a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Branch {
    /// Whether the path that ends here is in the set.
    pub(super) member: bool,
    pub(super) below: FieldSet,
}

impl Branch {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

/// The step to a field.
pub(super) fn field_step(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

impl FieldSet {
    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Box<str>]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.children.entry(first.clone()).or_default();
        if rest.is_empty() { node.member = true } else { node.below.insert(rest) }
    }

    /// Whether exactly this path is in the set.
    pub fn contains(&self, path: &[Box<str>]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.children.get(first).is_some_and(|node| if rest.is_empty() { node.member } else { node.below.contains(rest) })
    }

    /// What is below a step, and whether the step itself is in the set.
    pub(super) fn step(&self, step: &str) -> Option<(bool, &Self)> {
        self.children.get(step).map(|node| (node.member, &node.below))
    }

    /// Hangs a branch on a step, on top of what is there.
    pub(super) fn attach(&mut self, step: Box<str>, branch: Branch) {
        match self.children.entry(step) {
            Entry::Vacant(place) => {
                place.insert(branch);
            }
            Entry::Occupied(mut place) => {
                let node = place.get_mut();
                node.member |= branch.member;
                node.below = std::mem::take(&mut node.below).union(branch.below);
            }
        }
    }

    /// Paths of either set.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        for (step, branch) in other.children {
            self.attach(step, branch);
        }
        self
    }

    /// Paths of this set that are not in the other.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        self.subtract(other, false);
        self
    }

    /// Paths of this set that are neither in the other nor below a path of it.
    #[must_use]
    pub fn outside(mut self, other: &Self) -> Self {
        self.subtract(other, true);
        self
    }

    fn subtract(&mut self, other: &Self, with_what_is_below: bool) {
        if other.is_empty() {
            return;
        }
        self.children.retain(|step, node| {
            let Some(theirs) = other.children.get(step) else { return true };
            if theirs.member && with_what_is_below {
                return false;
            }
            node.member &= !theirs.member;
            node.below.subtract(&theirs.below, with_what_is_below);
            !node.is_empty()
        });
    }

    /// Paths of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = self.children.iter().filter_map(|(step, node)| {
            let theirs = other.children.get(step)?;
            let branch = Branch { member: node.member && theirs.member, below: node.below.intersection(&theirs.below) };
            (!branch.is_empty()).then(|| (step.clone(), branch))
        });
        Self { children: both.collect() }
    }

    /// The same set with every step added that `named` holds to lead to a declared field.
    pub(super) fn with_named(&self, path: &mut Vec<Box<str>>, named: &impl Fn(&[Box<str>]) -> bool) -> Self {
        let mut out = Self::default();
        for (step, node) in &self.children {
            path.push(step.clone());
            let below = node.below.with_named(path, named);
            let member = node.member || (!below.is_empty() && named(path));
            path.pop();
            out.children.insert(step.clone(), Branch { member, below });
        }
        out
    }

    /// Every path, in order.
    pub fn paths(&self) -> Vec<Vec<Box<str>>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<Box<str>>, out: &mut Vec<Vec<Box<str>>>) {
        for (step, node) in &self.children {
            path.push(step.clone());
            if node.member {
                out.push(path.clone());
            }
            node.below.collect(path, out);
            path.pop();
        }
    }

    /// The object of `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (step, node) in &self.children {
            let mut below = node.below.to_value();
            if node.member && !node.below.is_empty() {
                below["."] = json!({});
            }
            out.insert(step.to_string(), below);
        }
        Value::Object(out)
    }

    /// Reads `fieldsV1`; what is not well formed is left out.
    pub fn from_value(value: &Value) -> Self {
        let mut out = Self::default();
        for (step, below) in value.as_object().into_iter().flatten() {
            let Some(step) = canonical(step) else { continue };
            let member = below.as_object().is_none_or(|map| map.is_empty() || map.contains_key("."));
            out.children.insert(step, Branch { member, below: Self::from_value(below) });
        }
        out
    }
}

/// A step in its one spelling; `None` for `.` and for what is no step.
fn canonical(step: &str) -> Option<Box<str>> {
    match step.split_at_checked(2)? {
        ("f:", _) => Some(step.into()),
        (tag @ ("k:" | "v:"), text) => Some(format!("{tag}{}", serde_json::from_str::<Value>(text).ok()?).into()),
        ("i:", index) => index.parse::<usize>().ok().map(|index| format!("i:{index}").into()),
        _ => None,
    }
}

/// A path as messages show it: `.spec.containers[name="c"].image`.
pub(super) fn display(path: &[Box<str>]) -> String {
    let mut out = String::new();
    for step in path {
        let (tag, text) = step.split_at_checked(2).unwrap_or(("", step));
        match tag {
            "f:" => out.push_str(&format!(".{text}")),
            "k:" => {
                let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                out.push_str(&format!("[{}]", keys.join(",")));
            }
            "v:" => out.push_str(&format!("[={text}]")),
            _ => out.push_str(&format!("[{text}]")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes_fields_v1() {
        let value = json!({"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:set": {"v:\"x\"": {}}}});
        let set = FieldSet::from_value(&value);
        assert_eq!(set.to_value(), value);
        assert_eq!(
            set.paths().iter().map(|path| display(path)).collect::<Vec<_>>(),
            [
                ".data",
                ".data.a",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
                ".spec.set[=\"x\"]"
            ]
        );
        let other = FieldSet::from_value(&json!({"f:spec": {"f:ports": {"k:{\"protocol\": \"TCP\", \"port\": 80}": {}}}}));
        assert_eq!(set.intersection(&other).paths().len(), 1);
    }

    fn set() -> impl Strategy<Value = FieldSet> {
        prop::collection::vec(prop::collection::vec("f:[ab]", 1..4), 0..6).prop_map(|paths| {
            let mut set = FieldSet::default();
            for path in paths {
                set.insert(&path.into_iter().map(String::into_boxed_str).collect::<Vec<_>>());
            }
            set
        })
    }

    proptest! {
        #[test]
        fn laws_of_sets(a in set(), b in set()) {
            prop_assert_eq!(FieldSet::from_value(&a.to_value()), a.clone());
            prop_assert_eq!(a.clone().difference(&b).union(a.intersection(&b)), a.clone());
            prop_assert_eq!(a.clone().union(b.clone()).difference(&b), a.clone().difference(&b));
            prop_assert!(a.clone().difference(&a).is_empty());
            prop_assert!(a.clone().outside(&a).is_empty());
            for path in a.clone().union(b.clone()).paths() {
                prop_assert!(a.contains(&path) || b.contains(&path));
            }
        }
    }
}
