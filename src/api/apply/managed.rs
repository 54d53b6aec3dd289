//! The entries of `metadata.managedFields`: who set which fields, in upstream's order.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::{FieldSet, display};
use crate::status::Status;
use crate::time;

/// Most entries of updates an object keeps; older ones become one.
const MOST_UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: FieldSet,
}

impl Entry {
    /// Whether both are entries of one writer. An applier is the same in every version.
    pub(super) fn same_writer(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if value["fieldsType"] != "FieldsV1" {
            return None;
        }
        let time = value["time"].as_str().map(str::to_owned);
        let set = FieldSet::from_value(&value["fieldsV1"]);
        Some(Self { manager: text("manager"), operation, api_version: text("apiVersion"), subresource: text("subresource"), time, set })
    }

    fn to_value(&self) -> Value {
        let operation = if self.operation == Operation::Apply { "Apply" } else { "Update" };
        let mut out = json!({"operation": operation, "fieldsType": "FieldsV1", "fieldsV1": self.set.to_value()});
        for (key, text) in [("manager", &self.manager), ("apiVersion", &self.api_version), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                out[key] = json!(text);
            }
        }
        if let Some(time) = &self.time {
            out["time"] = json!(time);
        }
        out
    }

    fn described(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
            if let Some(time) = &self.time {
                out.push_str(&format!(" at {time}"));
            }
        }
        out
    }
}

/// All entries of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// From `metadata.managedFields`; `None` where an entry cannot be read.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let entries = object["metadata"]["managedFields"].as_array();
        entries.into_iter().flatten().map(Entry::from_value).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Writes the entries into an object, sorted as upstream sorts them.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.set.is_empty());
        self.cap();
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.operation, entry.time.clone(), entry.manager.clone(), entry.api_version.clone());
            (key(a), &a.subresource).cmp(&(key(b), &b.subresource))
        });
        let entries: Vec<Value> = self.0.iter().map(Entry::to_value).collect();
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }

    /// Folds the oldest updates into one entry per version when there are too many.
    fn cap(&mut self) {
        let mut updates: Vec<Entry> = Vec::new();
        let count = self.0.iter().filter(|entry| entry.operation == Operation::Update).count();
        if count <= MOST_UPDATES {
            return;
        }
        self.0.retain(|entry| {
            let update = entry.operation == Operation::Update;
            if update {
                updates.push(entry.clone());
            }
            !update
        });
        updates.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
        let newest = updates.split_off(count + 1 - MOST_UPDATES);
        for mut old in updates {
            old.manager = ANCIENT.to_owned();
            old.subresource = String::new();
            match self.0.iter_mut().find(|entry| entry.same_writer(&old)) {
                Some(entry) => {
                    entry.set = std::mem::take(&mut entry.set).union(old.set);
                    entry.time = old.time;
                }
                None => self.0.push(old),
            }
        }
        self.0.extend(newest);
    }

    /// Gives a writer these fields on top of those it has, as of now.
    pub(super) fn take(&mut self, mut new: Entry, now: Timestamp) {
        new.time = Some(time::seconds(now));
        match self.0.iter_mut().find(|entry| entry.same_writer(&new)) {
            Some(entry) => {
                entry.set = std::mem::take(&mut entry.set).union(new.set);
                entry.time = new.time;
            }
            None => self.0.push(new),
        }
    }
}

/// 409 for an apply that would change others' fields.
pub(super) fn conflict(conflicts: &[(Entry, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (entry, set) in conflicts {
        let paths: Vec<String> = set.paths().iter().map(|path| display(path)).collect();
        for path in &paths {
            causes
                .push(json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", entry.described()), "field": path}));
        }
        groups.push((entry.described(), paths));
    }
    groups.sort();
    let message = match &groups[..] {
        [(manager, paths)] if paths.len() == 1 => format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0]),
        groups => {
            let lines = groups.iter().flat_map(|(manager, paths)| {
                std::iter::once(format!("conflicts with {manager}:")).chain(paths.iter().map(|path| format!("- {path}")))
            });
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.collect::<Vec<_>>().join("\n"))
        }
    };
    Status::new(409, "Conflict", message).with_details(json!({"causes": causes}))
}
