//! The toolkit of the rules: paths of fields, reading and filling JSON, and a list that faults are put into.

use std::collections::HashSet;
use std::fmt::Display;

use serde_json::{Map, Value};

use crate::field::FieldError;
use crate::names;
use crate::quantity::Quantity;

/// Where a field stands, as upstream writes it: `spec.containers[0].image`, `data[key]`.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

impl From<&Path> for String {
    fn from(path: &Path) -> Self {
        path.0.clone()
    }
}

/// The faults found so far, in upstream's order.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub(crate) Vec<FieldError>);

impl Errors {
    pub(crate) fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.0.push(FieldError::required(path, detail));
    }

    pub(crate) fn invalid(&mut self, path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) {
        self.0.push(FieldError::invalid(path, value, detail));
    }

    pub(crate) fn forbidden(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError::forbidden(path, detail));
    }

    pub(crate) fn duplicate(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.0.push(FieldError::duplicate(path, value));
    }

    pub(crate) fn not_found(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.0.push(FieldError::not_found(path, value));
    }

    pub(crate) fn too_long(&mut self, path: impl Into<String>, max: usize) {
        self.0.push(FieldError::too_long(path, max));
    }

    pub(crate) fn too_many(&mut self, path: impl Into<String>, actual: usize, max: usize) {
        self.0.push(FieldError::too_many(path, actual, max));
    }

    /// `value` must be one of `supported`.
    pub(crate) fn one_of(&mut self, path: impl Into<String>, value: &str, supported: &[&str]) {
        if !supported.contains(&value) {
            self.0.push(FieldError::not_supported(path, value, supported));
        }
    }

    /// `value`, where it is set, must be one of `supported`.
    pub(crate) fn one_of_if_set(&mut self, path: impl Into<String>, value: &str, supported: &[&str]) {
        if !value.is_empty() {
            self.one_of(path, value, supported);
        }
    }

    /// `value` must be one of `supported`; an empty one is missing.
    pub(crate) fn required_one_of(&mut self, path: &Path, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.one_of(path, value, supported);
        }
    }

    /// What a check of `names` said of `value`.
    pub(crate) fn all(&mut self, path: &Path, value: impl Into<Value>, messages: Vec<String>) {
        let value = value.into();
        for message in messages {
            self.invalid(path, value.clone(), message);
        }
    }

    /// `value` is missing or must pass `check`.
    pub(crate) fn required_name(&mut self, path: &Path, value: &str, check: fn(&str) -> Vec<String>) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.all(path, value, check(value));
        }
    }

    pub(crate) fn non_negative(&mut self, path: &Path, value: Option<i64>) {
        if let Some(value) = value.filter(|v| *v < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    pub(crate) fn positive(&mut self, path: &Path, value: Option<i64>) {
        if let Some(value) = value.filter(|v| *v <= 0) {
            self.invalid(path, value, "must be greater than 0");
        }
    }

    pub(crate) fn port(&mut self, path: &Path, value: i64) {
        self.all(path, value, names::port_number(value));
    }

    /// A port by number or by name.
    pub(crate) fn port_or_name(&mut self, path: &Path, value: &Value) {
        match value {
            Value::String(name) => self.all(path, name.as_str(), names::port_name(name)),
            other => self.port(path, other.as_i64().unwrap_or(0)),
        }
    }

    /// A count or a percentage, neither negative.
    pub(crate) fn count_or_percent(&mut self, path: &Path, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) => self.all(path, text.as_str(), names::percent(text)),
            other => self.non_negative(path, other.as_i64()),
        }
    }

    /// `key` of `new` must be what it was in `old`.
    pub(crate) fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if new != old {
            self.invalid(path, new.clone(), IMMUTABLE);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What upstream says of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// A quantity, where the value is one.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// Finds what occurs twice.
#[derive(Default)]
pub(crate) struct Seen(HashSet<String>);

impl Seen {
    /// Whether `key` is here for the first time.
    pub(crate) fn first(&mut self, key: impl Display) -> bool {
        self.0.insert(key.to_string())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

/// Reading an object whose types the schema has checked: what is absent is empty.
pub(crate) trait Read {
    fn text(&self, key: &str) -> &str;
    fn int(&self, key: &str) -> Option<i64>;
    fn yes(&self, key: &str) -> bool;
    fn items(&self, key: &str) -> &[Value];
    fn map(&self, key: &str) -> &Map<String, Value>;
    fn has(&self, key: &str) -> bool;
    /// Items with their paths.
    fn each<'a>(&'a self, key: &str, path: &Path) -> impl Iterator<Item = (Path, &'a Value)> + 'a;
}

static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl Read for Value {
    fn text(&self, key: &str) -> &str {
        self[key].as_str().unwrap_or("")
    }

    fn int(&self, key: &str) -> Option<i64> {
        self[key].as_i64()
    }

    fn yes(&self, key: &str) -> bool {
        self[key].as_bool().unwrap_or(false)
    }

    fn items(&self, key: &str) -> &[Value] {
        self[key].as_array().map_or(&[], Vec::as_slice)
    }

    fn map(&self, key: &str) -> &Map<String, Value> {
        self[key].as_object().unwrap_or(&NOTHING)
    }

    fn has(&self, key: &str) -> bool {
        !self[key].is_null()
    }

    fn each<'a>(&'a self, key: &str, path: &Path) -> impl Iterator<Item = (Path, &'a Value)> + 'a {
        let path = path.child(key);
        self.items(key).iter().enumerate().map(move |(index, item)| (path.index(index), item))
    }
}

/// Filling an object.
pub(crate) trait Fill {
    /// Sets `key` where it is absent.
    fn fill(&mut self, key: &str, value: impl Into<Value>);
    /// Sets `key` where it is absent or has Go's zero value.
    fn fill_zero(&mut self, key: &str, value: impl Into<Value>);
    /// Sets `key`.
    fn put(&mut self, key: &str, value: impl Into<Value>);
    /// Sets `key` to what it is in `other`, absent if absent there.
    fn take_from(&mut self, key: &str, other: &Value);
    /// Removes `key`.
    fn cut(&mut self, key: &str);
    /// Runs `f` on `key` where it is present.
    fn with(&mut self, key: &str, f: impl FnOnce(&mut Value));
    /// Runs `f` on `key`, which becomes an empty object where it is absent.
    fn within(&mut self, key: &str, f: impl FnOnce(&mut Value));
    /// Runs `f` on every item of the list `key`.
    fn for_each(&mut self, key: &str, f: impl FnMut(&mut Value));
}

impl Fill for Value {
    fn fill(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(map) = self.as_object_mut() {
            let slot = map.entry(key).or_insert(Value::Null);
            if slot.is_null() {
                *slot = value.into();
            }
        }
    }

    fn fill_zero(&mut self, key: &str, value: impl Into<Value>) {
        let zero = match &self[key] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            _ => false,
        };
        if zero {
            self.put(key, value);
        }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(map) = self.as_object_mut() {
            map.insert(key.to_owned(), value.into());
        }
    }

    fn take_from(&mut self, key: &str, other: &Value) {
        match &other[key] {
            Value::Null => self.cut(key),
            value => self.put(key, value.clone()),
        }
    }

    fn cut(&mut self, key: &str) {
        if let Some(map) = self.as_object_mut() {
            map.remove(key);
        }
    }

    fn with(&mut self, key: &str, f: impl FnOnce(&mut Value)) {
        if let Some(value) = self.get_mut(key).filter(|v| !v.is_null()) {
            f(value);
        }
    }

    fn within(&mut self, key: &str, f: impl FnOnce(&mut Value)) {
        self.fill(key, Value::Object(Map::new()));
        self.with(key, f);
    }

    fn for_each(&mut self, key: &str, f: impl FnMut(&mut Value)) {
        if let Some(items) = self.get_mut(key).and_then(Value::as_array_mut) {
            items.iter_mut().for_each(f);
        }
    }
}
