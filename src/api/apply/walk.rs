//! Walks objects by their types: which fields an object sets, how two objects differ, how they merge
//! (`sigs.k8s.io/structured-merge-diff`).

use serde_json::{Map, Value, json};

use super::set::{Branch, FieldSet, display, field_step};
use crate::patch::go;
use crate::schema::{Field, Merge, Shape, Type};

/// Scalars that are told apart by their types.
#[derive(Clone, Copy)]
pub(super) enum Scalar {
    String,
    Numeric,
    Boolean,
}

/// How a value merges.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// As a whole.
    Leaf,
    /// As a whole, and of one type.
    Scalar(Scalar),
    /// Field by field.
    Struct(&'a Type),
    /// Key by key.
    Map(&'a Shape),
    /// By distinct scalars.
    Set,
    /// By keys of its items.
    Keyed(&'a Shape, &'a [Box<str>]),
    /// By what it happens to be: objects key by key, everything else as a whole.
    Untyped,
}

impl<'a> Node<'a> {
    pub(super) fn root(ty: &'a Type) -> Self {
        if ty.open && ty.fields.is_empty() { Self::Untyped } else { Self::Struct(ty) }
    }

    fn of(shape: &'a Shape, merge: Option<&'a Merge>) -> Self {
        match (shape, merge) {
            (_, Some(Merge::Atomic)) => Self::Leaf,
            (Shape::Object(target), _) if target.get().atomic => Self::Leaf,
            (Shape::Object(target), _) => Self::root(target.get()),
            (Shape::Map(item), _) => Self::Map(item),
            (Shape::List(_), Some(Merge::Set)) => Self::Set,
            (Shape::List(item), Some(Merge::Map(keys))) => Self::Keyed(item, keys),
            (Shape::String | Shape::Bytes, _) => Self::Scalar(Scalar::String),
            (Shape::Int32 | Shape::Int64 | Shape::Float, _) => Self::Scalar(Scalar::Numeric),
            (Shape::Bool, _) => Self::Scalar(Scalar::Boolean),
            _ => Self::Leaf,
        }
    }

    fn field(field: &'a Field) -> Self {
        Self::of(&field.shape, field.merge.as_ref())
    }

    /// The node of a key of an object, and whether the key is a declared field; `None` where it is not known.
    fn child(self, key: &str) -> Option<(Self, bool)> {
        match self {
            Self::Struct(ty) => match ty.field(key) {
                Some(field) => Some((Self::field(field), true)),
                None if ty.open => Some((Self::Untyped, false)),
                None => None,
            },
            Self::Map(item) => Some((Self::of(item, None), false)),
            Self::Untyped => Some((Self::Untyped, false)),
            _ => None,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Keyed(item, _) => Self::of(item, None),
            _ => Self::Leaf,
        }
    }

    /// The step to an item of a list; `None` where it lacks a key.
    fn item_step(self, item: &Value) -> Option<Box<str>> {
        let Self::Keyed(shape, keys) = self else { return Some(format!("v:{item}").into()) };
        let ty = if let Shape::Object(target) = shape { Some(target.get()) } else { None };
        let mut found = Map::new();
        for key in keys {
            let value = item.get(&**key).cloned().or_else(|| ty?.field(key)?.default.clone());
            if let Some(value) = value {
                found.insert(key.to_string(), value);
            }
        }
        if found.is_empty() { None } else { Some(format!("k:{}", Value::Object(found)).into()) }
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Set | Self::Keyed(..))
    }

    /// Whether these values are compared as wholes here.
    fn is_leaf_for(self, values: [Option<&Value>; 2]) -> bool {
        match self {
            Self::Leaf | Self::Scalar(_) => true,
            Self::Untyped => values.iter().flatten().any(|value| !value.is_object()),
            _ => false,
        }
    }
}

impl Scalar {
    /// What is wrong with a value that is no such scalar.
    fn misfit(self, value: &Value) -> Option<String> {
        let fits = match self {
            Self::String => value.is_string(),
            Self::Numeric => value.is_number(),
            Self::Boolean => value.is_boolean(),
        };
        if fits || value.is_null() {
            return None;
        }
        Some(match self {
            Self::String => format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)),
            Self::Numeric => format!("expected numeric (int or float), got {}", go_type(value)),
            Self::Boolean => format!("expected boolean, got &{{{}}}", go(value)),
        })
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        other => crate::schema::json_name(other),
    }
}

/// A value as Go's source would write it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("{}{{{}}}", go_type(value), items.iter().map(go_syntax).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value))).collect();
            format!("{}{{{}}}", go_type(value), entries.join(", "))
        }
        Value::Null => "interface {}(nil)".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// Items of a list with their steps; items without a key are numbered.
fn steps<'v>(node: Node<'_>, value: Option<&'v Value>) -> Vec<(Box<str>, &'v Value)> {
    let items = value.and_then(Value::as_array).into_iter().flatten().enumerate();
    items.map(|(index, item)| (node.item_step(item).unwrap_or_else(|| format!("i:{index}").into()), item)).collect()
}

/// What a client says in an object it applies: every field it gives. The errors are upstream's, one a line.
pub(super) fn fields_set(ty: &Type, value: &Value) -> Result<FieldSet, Vec<String>> {
    let mut walk = SetWalk { path: Vec::new(), set: FieldSet::default(), errors: Vec::new() };
    walk.value(Node::root(ty), value);
    if walk.errors.is_empty() { Ok(walk.set) } else { Err(walk.errors) }
}

struct SetWalk {
    path: Vec<Box<str>>,
    set: FieldSet,
    errors: Vec<String>,
}

impl SetWalk {
    fn value(&mut self, node: Node<'_>, value: &Value) {
        if let Node::Scalar(scalar) = node
            && let Some(fault) = scalar.misfit(value)
        {
            self.errors.push(format!("{}: {fault}", display(&self.path)));
        } else if node.is_leaf_for([Some(value), None]) {
            self.set.insert(&self.path);
        } else if node.is_list() {
            self.list(node, value);
        } else {
            self.map(node, value);
        }
    }

    fn map(&mut self, node: Node<'_>, value: &Value) {
        let Value::Object(map) = value else {
            if !value.is_null() {
                self.errors.push(format!("{}: expected map, got &{{{}}}", display(&self.path), go(value)));
            }
            return;
        };
        for (key, value) in map {
            self.path.push(field_step(key));
            match node.child(key) {
                None => self.errors.push(format!("{}: field not declared in schema", display(&self.path))),
                Some((child, declared)) => {
                    self.value(child, value);
                    if !declared || value.is_null() || value.as_object().is_some_and(Map::is_empty) {
                        self.set.insert(&self.path);
                    }
                }
            }
            self.path.pop();
        }
    }

    fn list(&mut self, node: Node<'_>, value: &Value) {
        let Value::Array(items) = value else {
            if !value.is_null() {
                self.errors.push(format!("{}: expected list, got &{{{}}}", display(&self.path), go(value)));
            }
            return;
        };
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let Some(step) = node.item_step(item) else {
                let keys = if let Node::Keyed(_, keys) = node { keys.join(", ") } else { String::new() };
                self.errors.push(format!(
                    "{}: element {index}: associative list with keys has an element that omits key field {keys:?}",
                    display(&self.path)
                ));
                continue;
            };
            if !seen.insert(step.clone()) {
                self.errors.push(format!("{}: duplicate entries for key {}", display(&self.path), display(&[step])));
                continue;
            }
            self.path.push(step);
            self.value(node.item(), item);
            self.set.insert(&self.path);
            self.path.pop();
        }
    }
}

/// How two objects differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Fields that are new or hold something else.
    pub(super) taken: FieldSet,
    /// Fields that are gone.
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn of(ty: &Type, old: &Value, new: &Value) -> Self {
        let Difference { taken, removed } = compare(Node::root(ty), Some(old), Some(new));
        Self { taken: taken.below, removed: removed.below }
    }
}

/// How two values differ, and whether each of the two sets has the path to them.
#[derive(Default)]
struct Difference {
    taken: Branch,
    removed: Branch,
}

impl Difference {
    fn attach(&mut self, step: impl Fn() -> Box<str>, below: Self) {
        for (set, branch) in [(&mut self.taken, below.taken), (&mut self.removed, below.removed)] {
            if !branch.is_empty() {
                set.below.attach(step(), branch);
            }
        }
    }
}

fn compare(node: Node<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut out = Difference::default();
    if old == new {
        return out;
    }
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let leaf = node.is_leaf_for([old, new]) || (empty(old) && empty(new));
    if !leaf && node.is_list() {
        compare_lists(node, old, new, &mut out);
    } else if !leaf {
        compare_maps(node, old, new, &mut out);
    }
    out.taken.member = new.is_some() && (leaf || old.is_none());
    out.removed.member = new.is_none();
    out
}

fn compare_maps(node: Node<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let old = old.and_then(Value::as_object);
    let new = new.and_then(Value::as_object);
    let added = new.into_iter().flat_map(Map::keys).filter(|key| !old.is_some_and(|old| old.contains_key(*key)));
    for key in old.into_iter().flat_map(Map::keys).chain(added) {
        let Some((child, _)) = node.child(key) else { continue };
        let below = compare(child, old.and_then(|map| map.get(key)), new.and_then(|map| map.get(key)));
        out.attach(|| field_step(key), below);
    }
}

fn compare_lists(node: Node<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let (old, new) = (steps(node, old), steps(node, new));
    let at = |list: &[(Box<str>, &Value)], step: &str| list.iter().position(|(own, _)| **own == *step);
    for (step, item) in &old {
        out.attach(|| step.clone(), compare(node.item(), Some(item), at(&new, step).map(|at| new[at].1)));
    }
    for (step, item) in new.iter().filter(|(step, _)| at(&old, step).is_none()) {
        out.attach(|| step.clone(), compare(node.item(), None, Some(item)));
    }
}

/// The live object with what is applied laid over it.
pub(super) fn merged(ty: &Type, live: &Value, config: &Value) -> Value {
    merge(Node::root(ty), live, config)
}

fn merge(node: Node<'_>, live: &Value, config: &Value) -> Value {
    if node.is_leaf_for([Some(live), Some(config)]) {
        return config.clone();
    }
    if node.is_list() {
        return match config {
            Value::Array(_) => merge_lists(node, live, config),
            _ => config.clone(),
        };
    }
    let (Value::Object(live), Value::Object(config)) = (live, config) else { return config.clone() };
    let mut out = live.clone();
    for (key, value) in config {
        let value = match (out.get(key), node.child(key)) {
            (Some(before), Some((child, _))) => merge(child, before, value),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

/// Items in the order applied; live items that are not applied keep their place among the others.
fn merge_lists(node: Node<'_>, live: &Value, config: &Value) -> Value {
    let (live, config) = (steps(node, Some(live)), steps(node, Some(config)));
    let find = |list: &[(Box<str>, &Value)], step: &str| list.iter().position(|(own, _)| **own == *step);
    let mut out = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < live.len() || right < config.len() {
        if let Some((step, item)) = live.get(left) {
            if find(&config, step).is_none() {
                out.push((*item).clone());
                left += 1;
                continue;
            }
            // Applied too: comes when its turn in the applied order comes.
            if config.get(right).is_none_or(|(next, _)| next != step) {
                left += 1;
                continue;
            }
        }
        let Some((step, item)) = config.get(right) else { continue };
        out.push(find(&live, step).map_or_else(|| (*item).clone(), |at| merge(node.item(), live[at].1, item)));
        right += 1;
        if live.get(left).is_some_and(|(own, _)| own == step) {
            left += 1;
        }
    }
    Value::Array(out)
}

/// Takes the fields of a set out of an object.
pub(super) fn remove(ty: &Type, value: &mut Value, set: &FieldSet) {
    remove_from(Node::root(ty), value, set);
}

fn remove_from(node: Node<'_>, value: &mut Value, set: &FieldSet) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let Some((member, below)) = set.step(&field_step(key)) else { return true };
            if !member && let Some((child, _)) = node.child(key) {
                remove_from(child, value, below);
            }
            !member
        }),
        Value::Array(items) if node.is_list() => items.retain_mut(|item| {
            let Some((member, below)) = node.item_step(item).and_then(|step| set.step(&step)) else { return true };
            if !member {
                remove_from(node.item(), item, below);
            }
            !member
        }),
        _ => {}
    }
}

/// The set with the declared fields on the way to its members added.
pub(super) fn with_named_fields(ty: &Type, set: &FieldSet) -> FieldSet {
    set.with_named(&mut Vec::new(), &|path| is_declared(Node::root(ty), path))
}

fn is_declared(mut node: Node<'_>, path: &[Box<str>]) -> bool {
    let mut declared = false;
    for step in path {
        if let Some(name) = step.strip_prefix("f:") {
            let Some((child, own)) = node.child(name) else { return false };
            (node, declared) = (child, own);
        } else {
            (node, declared) = (node.item(), false);
        }
    }
    declared
}

/// An object's path as a set of one.
pub(super) fn set_of(paths: &[&[&str]]) -> FieldSet {
    let mut set = FieldSet::default();
    for path in paths {
        set.insert(&path.iter().map(|name| field_step(name)).collect::<Vec<_>>());
    }
    set
}

/// What an object without managed fields starts from.
pub(super) fn without_managed_fields(object: &Value) -> Value {
    let mut out = object.clone();
    if let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if out.is_null() { json!({}) } else { out }
}
