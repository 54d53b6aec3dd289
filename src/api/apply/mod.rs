//! Server-side apply, and the record of who manages which fields (KEP-555, `apimachinery/pkg/util/managedfields`).
//!
//! An object's type decides how it merges, so custom resources need only a `Type` of their own.

mod last_applied;
mod managed;
mod set;
mod walk;

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::schema::{self, Type};
use crate::status::Status;
use managed::{Entry, Managed, Operation};
pub use set::FieldSet;
use walk::{Comparison, fields_set, merged, remove, set_of, with_named_fields, without_managed_fields};

/// Manager of what an object held before the first apply, when nobody was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields of every object that nobody manages.
const NOBODYS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

static NOT_OWNED: LazyLock<FieldSet> = LazyLock::new(|| set_of(NOBODYS));
static STATUS: LazyLock<FieldSet> = LazyLock::new(|| set_of(&[&["status"]]));
static SPEC: LazyLock<FieldSet> = LazyLock::new(|| set_of(&[&["spec"]]));
static NOTHING: LazyLock<FieldSet> = LazyLock::new(FieldSet::default);

/// Fields a write through this subresource does not touch, so that it does not come to own them.
fn untouched(ty: &Type, subresource: &str) -> &'static FieldSet {
    match subresource {
        "" if ty.field("status").is_some() => &STATUS,
        "status" => &SPEC,
        _ => &NOTHING,
    }
}

/// Applies `config` as `manager`. The answer is the new object, cleaned but not defaulted, with `managedFields`;
/// `live` is `None` where the apply creates. Conflicts are refused with upstream's 409 unless forced.
pub fn apply(
    live: Option<&Value>,
    config: Value,
    manager: &str,
    force: bool,
    ty: &Type,
    now: Timestamp,
    subresource: &str,
) -> Result<Value, Status> {
    if config["metadata"].get("managedFields").is_some_and(|fields| fields.as_array().is_none_or(|list| !list.is_empty())) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let wished = (manager == last_applied::MANAGER).then(|| config.clone());
    let before = live.map_or_else(|| schema::zero(ty), without_managed_fields);
    let mut managed = live.and_then(Managed::of).unwrap_or_default();
    if live.is_some() && managed.0.is_empty() {
        adopt(&mut managed, &before, ty);
    }
    let mut own = own_fields(&config, ty)?;
    own = own.outside(untouched(ty, subresource)).difference(&NOT_OWNED);
    let entry = Entry {
        manager: manager.to_owned(),
        operation: Operation::Apply,
        api_version: config["apiVersion"].as_str().unwrap_or_default().to_owned(),
        subresource: subresource.to_owned(),
        time: None,
        set: own,
    };
    let mut config = config;
    remove(ty, &mut config, untouched(ty, subresource));
    let mut new = merged(ty, &before, &config);
    let previous = managed.0.iter().position(|own| own.same_writer(&entry)).map(|at| managed.0.remove(at));
    if let Some(previous) = &previous {
        prune(&mut new, &managed, &entry, previous, ty);
    }
    let yielded = if force { None } else { Some(last_applied::yielded(live, manager, ty)) };
    let same = settle(&mut managed, &before, &new, yielded.as_ref(), ty, untouched(ty, subresource))?;
    let unchanged = live.is_some() && same && previous.as_ref().is_some_and(|previous| previous.set == entry.set);
    match previous {
        Some(previous) if unchanged => managed.0.push(previous),
        _ => managed.take(entry, now),
    }
    schema::clean(ty, &mut new);
    if let Some(wished) = wished {
        last_applied::renew(&mut new, wished);
    }
    managed.write(&mut new);
    Ok(new)
}

fn own_fields(config: &Value, ty: &Type) -> Result<FieldSet, Status> {
    fields_set(ty, config).map_err(|errors| typed_error(config, &errors))
}

/// Refuses a configuration that does not fit its type, as [`apply`] does.
///
/// # Errors
/// It has fields that the type has not.
pub fn check(config: &Value, ty: &Type) -> Result<(), Status> {
    own_fields(config, ty).map(drop)
}

/// Records an update: `new` is decoded and defaulted, `live` is what it replaces (`None` for a create). The answer is
/// `new` with `managedFields`.
pub fn update(live: Option<&Value>, new: Value, manager: &str, ty: &Type, now: Timestamp, subresource: &str) -> Value {
    let mut managed = entries_for_update(live, &new, subresource);
    let mut new = if new.is_null() { json!({}) } else { new };
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let ignored = untouched(ty, subresource);
    // that the entries themselves differ does not matter: nobody owns them
    let Comparison { taken, removed } = match live {
        Some(live) => Comparison::of(ty, live, &new),
        None => Comparison::of(ty, &schema::zero(ty), &new),
    };
    let (taken, removed) = (taken.outside(ignored), removed.outside(ignored));
    for entry in &mut managed.0 {
        entry.set = std::mem::take(&mut entry.set).difference(&taken).difference(&removed);
    }
    let own = taken.difference(&NOT_OWNED);
    if !own.is_empty() {
        let entry = Entry {
            manager: manager.to_owned(),
            operation: Operation::Update,
            api_version: new["apiVersion"].as_str().unwrap_or_default().to_owned(),
            subresource: subresource.to_owned(),
            time: None,
            set: own,
        };
        managed.take(entry, now);
    }
    managed.write(&mut new);
    new
}

/// The entries an update starts from: those it sends, if they can be read, else the live object's. A single empty
/// entry resets them.
fn entries_for_update(live: Option<&Value>, new: &Value, subresource: &str) -> Managed {
    let sent = &new["metadata"]["managedFields"];
    let live = || live.and_then(Managed::of).unwrap_or_default();
    if !subresource.is_empty() {
        return live();
    }
    if let Some([only]) = sent.as_array().map(Vec::as_slice)
        && only.as_object().is_some_and(|entry| entry.is_empty())
    {
        return Managed::default();
    }
    Managed::of(new).filter(|managed| !managed.0.is_empty()).unwrap_or_else(live)
}

/// Gives what an unmanaged object holds to a manager of its own, so that an apply conflicts with it.
fn adopt(managed: &mut Managed, live: &Value, ty: &Type) {
    let set = Comparison::of(ty, &schema::zero(ty), live).taken.difference(&NOT_OWNED);
    managed.0.push(Entry {
        manager: BEFORE_FIRST_APPLY.to_owned(),
        operation: Operation::Update,
        api_version: live["apiVersion"].as_str().unwrap_or_default().to_owned(),
        subresource: String::new(),
        time: None,
        set,
    });
}

/// Takes out what the manager applied before and applies no more, unless another manager has it.
fn prune(new: &mut Value, others: &Managed, own: &Entry, previous: &Entry, ty: &Type) {
    let owned = others.0.iter().fold(own.set.clone(), |set, entry| set.union(entry.set.clone()));
    let gone = with_named_fields(ty, &previous.set).difference(&with_named_fields(ty, &owned));
    remove(ty, new, &gone);
}

/// Takes changed and removed fields from the other managers, who all have to yield these; `None`: all of them. The answer
/// is whether nothing changed.
fn settle(
    managed: &mut Managed,
    old: &Value,
    new: &Value,
    yielded: Option<&FieldSet>,
    ty: &Type,
    ignored: &FieldSet,
) -> Result<bool, Status> {
    let comparison = Comparison::of(ty, old, new);
    let (taken, removed) = (comparison.taken.outside(ignored), comparison.removed.outside(ignored));
    if let Some(yielded) = yielded {
        let contested = managed.0.iter().map(|entry| (entry.clone(), entry.set.intersection(&taken).difference(yielded)));
        let conflicts: Vec<(Entry, FieldSet)> = contested.filter(|(_, set)| !set.is_empty()).collect();
        if !conflicts.is_empty() {
            return Err(managed::conflict(&conflicts));
        }
    }
    for entry in &mut managed.0 {
        entry.set = std::mem::take(&mut entry.set).difference(&taken).difference(&removed);
    }
    Ok(taken.is_empty() && removed.is_empty())
}

/// Upstream's complaint about an applied object that does not fit its type.
fn typed_error(config: &Value, errors: &[String]) -> Status {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version) = crate::kinds::split_api_version(config["apiVersion"].as_str().unwrap_or_default());
    let subject = format!(
        "{}/{}; {}, Kind={}",
        text(&config["metadata"]["namespace"]),
        text(&config["metadata"]["name"]),
        if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") },
        text(&config["kind"])
    );
    let errors = match errors {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Status::new(500, "", format!("failed to create typed patch object ({subject}): {errors}"))
}

#[cfg(test)]
mod tests;
