//! What a definition's status says: which names it was given, whether it serves, which versions were ever stored.

use serde_json::{Value, json};

use super::{CLEANUP_FINALIZER, list, text};

const LISTED: [(&str, &str); 4] =
    [("plural", "PluralConflict"), ("singular", "SingularConflict"), ("kind", "KindConflict"), ("listKind", "ListKindConflict")];

/// Sets a condition; its time moves when its status does.
fn set_condition(definition: &mut Value, name: &str, status: bool, reason: &str, message: &str, now: &str) {
    let status = if status { "True" } else { "False" };
    let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.iter().find(|condition| condition["type"] == name);
    let since = match old {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    let new = json!({"type": name, "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    let mut conditions = conditions;
    match conditions.iter_mut().find(|condition| condition["type"] == name) {
        Some(place) => *place = new,
        None => conditions.push(new),
    }
    definition["status"]["conditions"] = json!(conditions);
}

/// Names of resources, then of kinds, that a definition holds.
fn held(definition: &Value) -> (Vec<&str>, Vec<&str>) {
    let names = &definition["status"]["acceptedNames"];
    let mut resources = vec![text(names, "plural"), text(names, "singular")];
    resources.extend(list(&names["shortNames"]).filter_map(Value::as_str));
    (resources, vec![text(names, "kind"), text(names, "listKind")])
}

/// A definition with the status it should have, given all definitions (itself among them).
pub fn settled(definition: &Value, all: &[impl std::ops::Deref<Target = Value>], now: &str) -> Value {
    let mut new = definition.clone();
    let own = text(&definition["metadata"], "name");
    let others: Vec<&Value> = all
        .iter()
        .map(|other| &**other)
        .filter(|other| text(&other["metadata"], "name") != own && other["spec"]["group"] == definition["spec"]["group"])
        .collect();
    let taken = |name: &str, kinds: bool| {
        others.iter().any(|other| {
            let (resources, of_kinds) = held(other);
            let names = if kinds { of_kinds } else { resources };
            !name.is_empty() && names.contains(&name)
        })
    };
    let wanted = &definition["spec"]["names"];
    let mut accepted = definition["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({"plural": "", "kind": ""});
    }
    let mut conflict: Option<(&str, String)> = None;
    for (name, reason) in LISTED {
        let value = text(wanted, name);
        if taken(value, name.ends_with("ind")) {
            conflict = conflict.or_else(|| Some((reason, format!("{value:?} is already in use"))));
        } else {
            accepted[name] = json!(value);
        }
    }
    let short: Vec<&Value> = list(&wanted["shortNames"]).collect();
    match short.iter().find(|name| taken(name.as_str().unwrap_or_default(), false)) {
        Some(name) => conflict = conflict.or_else(|| Some(("ShortNamesConflict", format!("{name} is already in use")))),
        None => put_list(&mut accepted, "shortNames", &wanted["shortNames"]),
    }
    put_list(&mut accepted, "categories", &wanted["categories"]);
    new["status"]["acceptedNames"] = accepted;
    let was_established = super::has_condition(definition, "Established");
    match &conflict {
        None => {
            set_condition(&mut new, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            set_condition(&mut new, "Established", true, "InitialNamesAccepted", "the initial names have been accepted", now);
        }
        Some((reason, message)) => {
            set_condition(&mut new, "NamesAccepted", false, reason, message, now);
            if !was_established {
                set_condition(&mut new, "Established", false, "NotAccepted", "not all names are accepted", now);
            }
        }
    }
    new
}

fn put_list(names: &mut Value, field: &str, wanted: &Value) {
    if wanted.as_array().is_some_and(|list| !list.is_empty()) {
        names[field] = wanted.clone();
    } else if let Some(names) = names.as_object_mut() {
        names.remove(field);
    }
}

/// Remembers that objects may be stored in the version that is stored now.
pub(super) fn remember_stored(definition: &mut Value, old: Option<&Value>) {
    let stored = list(&definition["spec"]["versions"]).find(|version| version["storage"] == true).map(|version| version["name"].clone());
    let before = old.map(|old| old["status"]["storedVersions"].clone()).unwrap_or(Value::Null);
    let mut versions: Vec<Value> = list(&before).cloned().collect();
    if let Some(stored) = stored.filter(|stored| !versions.contains(stored)) {
        versions.push(stored);
    }
    definition["status"]["storedVersions"] = json!(versions);
}

/// A definition that is being deleted waits for its objects.
pub fn mark_terminating(definition: &mut Value, now: &str) {
    if !super::has_condition(definition, "Established") || definition["metadata"]["deletionTimestamp"].is_string() {
        return;
    }
    let mut finalizers: Vec<Value> = list(&definition["metadata"]["finalizers"]).cloned().collect();
    if !finalizers.iter().any(|name| name == CLEANUP_FINALIZER) {
        finalizers.push(json!(CLEANUP_FINALIZER));
    }
    definition["metadata"]["finalizers"] = json!(finalizers);
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(definition, "Terminating", true, "InstanceDeletionPending", message, now);
}

/// A definition whose objects are gone goes.
pub fn release(definition: &mut Value, now: &str) {
    let finalizers: Vec<Value> = list(&definition["metadata"]["finalizers"]).filter(|name| *name != CLEANUP_FINALIZER).cloned().collect();
    definition["metadata"]["finalizers"] = json!(finalizers);
    set_condition(definition, "Terminating", false, "InstanceDeletionCompleted", "removed all instances", now);
}
