//! Writes of this session that can be undone: what the object was before, and what it was after.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::App;
use crate::kinds::{Kind, Target};
use crate::shared::Level;
use crate::source::call::Call;
use crate::source::fault::{Fault, FaultKind};
use crate::text::yaml;

/// A write.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was written.
    pub target: Target,
    /// What was done, in words.
    pub done: String,
    /// The object before; `None` if the write made it, so that undoing it deletes what it made.
    pub before: Option<Value>,
    /// The object after; `None` if the write deleted it.
    pub after: Option<Value>,
}

/// What is known of an object before a write.
#[derive(Debug, Clone)]
pub enum Before {
    /// It was not there: the write made it.
    Nothing,
    /// It was this.
    Object(Box<Value>),
    /// It could not be read, and why: the write cannot be taken back.
    Unknown(String),
}

/// The writes that can be undone, and those that were. A write that cannot be is kept with its reason, so that what was
/// written before it is not undone in its stead.
#[derive(Debug, Default)]
pub struct Changes {
    done: Vec<Result<Change, String>>,
    undone: Vec<Change>,
}

impl Changes {
    /// None can be undone any more: the cluster is another.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A write was made.
    pub fn push(&mut self, change: Change) {
        self.undone.clear();
        self.done.push(Ok(change));
    }

    /// A write was made that cannot be taken back.
    fn push_lost(&mut self, why: String) {
        self.undone.clear();
        self.done.push(Err(why));
    }
}

/// Makes of the object what it was before the last write.
pub fn undo(app: &mut App) {
    match app.shared.changes.done.pop() {
        Some(Ok(change)) => {
            let back = Change { before: change.after.clone(), after: change.before.clone(), ..change.clone() };
            travel(app, back, format!("undone: {}", change.done), move |app, way| match way {
                Way::Gone(made) => {
                    let before = made.or(change.before);
                    app.shared.changes.undone.push(Change { before, ..change });
                }
                Way::Barred => app.shared.changes.done.push(Ok(change)),
            });
        }
        Some(Err(why)) => app.shared.say(Level::Warning, why),
        None => app.shared.say(Level::Info, "nothing to undo"),
    }
}

/// Makes again what was undone last.
pub fn redo(app: &mut App) {
    match app.shared.changes.undone.pop() {
        Some(change) => travel(app, change.clone(), format!("done again: {}", change.done), move |app, way| match way {
            Way::Gone(made) => {
                let after = made.or(change.after);
                app.shared.changes.done.push(Ok(Change { after, ..change }));
            }
            Way::Barred => app.shared.changes.undone.push(change),
        }),
        None => app.shared.say(Level::Info, "nothing to do again"),
    }
}

/// The object as it can be created again.
fn creatable(object: &Value) -> Value {
    let mut object = yaml::editable(object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            metadata.remove(field);
        }
        // owners and finalizers stay: they are what it was
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && object_is_service(spec)
    {
        spec.remove("clusterIPs");
    }
    object
}

fn object_is_service(spec: &serde_json::Map<String, Value>) -> bool {
    spec.contains_key("clusterIPs")
}

/// How a way back ended.
enum Way {
    /// It was gone, and made this object anew, if any.
    Gone(Option<Value>),
    /// It could not be gone: it has been said why.
    Barred,
}

fn uid(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid").and_then(Value::as_str)
}

/// Leads from `change.before` to `change.after`.
fn travel(app: &mut App, change: Change, said: String, then: impl FnOnce(&mut App, Way) + Send + 'static) {
    match (&change.before, &change.after) {
        (None, Some(after)) => {
            let call = Call::post(change.target.kind.path(Some(&change.target.namespace)), creatable(after));
            let embedded = app.shared.connection.as_ref().is_some_and(|connection| connection.embedded);
            let note = if embedded { "" } else { " (created again; its uid, status and what it owned are new)" };
            go(app, call, said.clone(), format!("{said}{note}"), |app, made| {
                then(app, made.map_or(Way::Barred, |made| Way::Gone(Some(made))))
            });
        }
        (Some(before), None) => delete(app, change.target.clone(), before.clone(), said, then),
        (Some(before), Some(after)) => match yaml::merge_patch(&yaml::editable(before), &yaml::editable(after)) {
            Some(mut patch) => {
                // another object of the same name is not this one
                if let Some(uid) = uid(before).or(uid(after)) {
                    patch["metadata"]["uid"] = uid.into();
                }
                let call = Call::merge(&change.target, "", patch, false);
                go(app, call, said.clone(), said, |app, made| then(app, made.map_or(Way::Barred, |_| Way::Gone(None))));
            }
            None => {
                app.shared.say(Level::Info, format!("{said}: there was no difference"));
                then(app, Way::Gone(None));
            }
        },
        (None, None) => then(app, Way::Gone(None)),
    }
}

fn go(app: &mut App, call: Call, tried: String, said: String, then: impl FnOnce(&mut App, Option<Value>) + Send + 'static) {
    app.shared.jobs += 1;
    app.shared.call(
        call,
        Box::new(move |app, answer| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match &answer {
                Ok(_) => app.shared.say(Level::Done, said),
                Err(fault) => app.shared.fail(&format!("not {tried}"), fault),
            }
            then(app, answer.ok());
        }),
    );
}

/// Deletes the object that was made, and no other of its name: as it was looked at a moment ago, or not at all.
fn delete(app: &mut App, target: Target, made: Value, said: String, then: impl FnOnce(&mut App, Way) + Send + 'static) {
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, now| match now {
            Ok(now) if uid(&now).is_some() && uid(&now) == uid(&made) => {
                let mut call = Call::delete(&target, "Background", None);
                if let Some(body) = &mut call.body {
                    body["preconditions"] = json!({"uid": now["metadata"]["uid"], "resourceVersion": now["metadata"]["resourceVersion"]});
                }
                go(app, call, said.clone(), said, |app, done| then(app, done.map_or(Way::Barred, |_| Way::Gone(None))));
            }
            Ok(_) => {
                app.shared.say(Level::Error, format!("not {said}: {} is another object by now", target.shown()));
                then(app, Way::Barred);
            }
            Err(fault) if fault.kind == FaultKind::NotFound => {
                app.shared.say(Level::Info, format!("{said}: {} was gone already", target.shown()));
                then(app, Way::Gone(None));
            }
            Err(fault) => {
                app.shared.fail(&format!("not {said}"), &fault);
                then(app, Way::Barred);
            }
        }),
    );
}

/// Makes a write, and keeps what is needed to undo it.
pub fn write(app: &mut App, target: &Target, call: Call, done: String) {
    write_then(app, target, call, done, |_, _| {});
}

/// Makes a write, keeps what is needed to undo it, and goes on with the answer.
pub fn write_then(
    app: &mut App,
    target: &Target,
    call: Call,
    done: String,
    then: impl FnOnce(&mut App, Result<Value, Fault>) + Send + 'static,
) {
    app.shared.jobs += 1;
    let target = target.clone();
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, before| {
            let (deletes, makes) = (call.method == "DELETE", call.method == "POST");
            app.shared.call(
                call,
                Box::new(move |app, answer| {
                    app.shared.jobs = app.shared.jobs.saturating_sub(1);
                    match &answer {
                        Ok(_) => {
                            app.shared.say(Level::Done, done.clone());
                            match before {
                                Ok(before) => remember(app, target, done, Some(before), deletes),
                                Err(fault) if makes && fault.kind == FaultKind::NotFound => remember(app, target, done, None, false),
                                Err(fault) => lost(app, &done, &fault.message),
                            }
                        }
                        Err(fault) => app.shared.fail(&format!("not {done}"), fault),
                    }
                    then(app, answer);
                }),
            );
        }),
    );
}

fn lost(app: &mut App, done: &str, why: &str) {
    app.shared.changes.push_lost(format!("{done}: that cannot be undone, as it could not be read before ({why})"));
}

/// Keeps a write that was made. What it came to is read, as a subresource's answer is not the object.
fn remember(app: &mut App, target: Target, done: String, before: Option<Value>, deletes: bool) {
    if deletes {
        return app.shared.changes.push(Change { target, done, before, after: None });
    }
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, after| match after {
            Ok(after) => app.shared.changes.push(Change { target, done, before, after: Some(after) }),
            Err(fault) => lost(app, &done, &fault.message),
        }),
    );
}

/// Where a request goes: an object, a part of one, or a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Up to the version: `/apis/apps/v1`.
    root: String,
    group: String,
    namespace: Option<String>,
    /// Resource name, as `pods`.
    pub plural: String,
    /// Name of the object, if it is about one.
    pub name: Option<String>,
    /// The part of it, as `scale`.
    pub subresource: Option<String>,
}

impl Place {
    /// What a path of the API says; `None` if it is about no objects.
    pub fn of(path: &str) -> Option<Self> {
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (root, group, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => (format!("/api/{version}"), "", rest),
            ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), *group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) => {
                (Some(*namespace), rest)
            }
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource, ..] => (*plural, Some(*name), Some(*subresource)),
            [] => return None,
        };
        let own = |word: Option<&str>| word.map(str::to_owned);
        let (namespace, name, subresource) = (own(namespace), own(name), own(subresource));
        Some(Self { root, group: group.to_owned(), namespace, plural: plural.to_owned(), name, subresource })
    }

    /// The path of the object, or of the collection.
    pub fn path(&self) -> String {
        let namespace = self.namespace.iter().map(|namespace| format!("/namespaces/{namespace}")).collect::<String>();
        let name = self.name.iter().map(|name| format!("/{name}")).collect::<String>();
        format!("{}{namespace}/{}{name}", self.root, self.plural)
    }

    fn target(&self, app: &App, name: &str) -> Target {
        let known = app.shared.kinds.all().iter().find(|kind| kind.is(&self.group, &self.plural)).cloned();
        let version = self.root.rsplit('/').next().unwrap_or_default().to_owned();
        let unknown = || {
            let (group, plural, namespaced) = (self.group.clone(), self.plural.clone(), self.namespace.is_some());
            Arc::new(Kind { group, version, singular: plural.clone(), plural, namespaced, ..Kind::default() })
        };
        Target { kind: known.unwrap_or_else(unknown), namespace: self.namespace.clone().unwrap_or_default(), name: name.to_owned() }
    }
}

/// Keeps a write that a command made.
pub fn noted(app: &mut App, place: &Place, command: &str, before: Before, after: Result<Option<Value>, Fault>) {
    let named = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let answered = || after.as_ref().ok().and_then(|after| named(after.as_ref()?));
    let Some(name) = place.name.clone().or_else(answered) else { return };
    let target = place.target(app, &name);
    let done = format!(":{command} ({})", target.shown());
    match (before, after) {
        (Before::Unknown(why), _) => lost(app, &done, &why),
        (_, Err(fault)) => lost(app, &done, &fault.message),
        (Before::Nothing, Ok(after)) => app.shared.changes.push(Change { target, done, before: None, after }),
        (Before::Object(before), Ok(after)) => app.shared.changes.push(Change { target, done, before: Some(*before), after }),
    }
}

/// An object is made as it was at some time; what it is now is asked first.
pub fn restore(app: &mut App, target: Target, wanted: Value) {
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, now| {
            let before = match now {
                Ok(now) => Some(now),
                Err(fault) if fault.kind == FaultKind::NotFound => None,
                Err(fault) => return app.shared.fail(&target.shown(), &fault),
            };
            let done = format!("{} restored", target.shown());
            let change = Change { target, done: done.clone(), before, after: Some(wanted) };
            travel(app, change.clone(), done, move |app, way| {
                if let Way::Gone(made) = way {
                    let after = made.or(change.after);
                    app.shared.changes.push(Change { after, ..change });
                }
            });
        }),
    );
}

/// What a patch of labels is, from `key=value key-`.
///
/// # Errors
/// A word that is neither.
pub fn label_patch(text: &str) -> Result<Value, String> {
    let mut labels = serde_json::Map::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => labels.insert(key.to_owned(), value.into()),
            (None, Some(key)) => labels.insert(key.to_owned(), Value::Null),
            (None, None) => return Err(format!("{word} is neither key=value nor key-")),
        };
    }
    Ok(json!({"metadata": {"labels": labels}}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_path_says_where_a_request_goes() {
        for (path, name, subresource) in [
            ("/api/v1/namespaces/default/pods", None, None),
            ("/api/v1/namespaces/default/pods/web", Some("web"), None),
            ("/apis/apps/v1/namespaces/default/deployments/web/scale", Some("web"), Some("scale")),
            ("/api/v1/nodes/laptop", Some("laptop"), None),
            ("/api/v1/namespaces/shop", Some("shop"), None),
            ("/api/v1/namespaces/shop/status", Some("shop"), Some("status")),
        ] {
            let place = Place::of(path).unwrap();
            assert_eq!((place.name.as_deref(), place.subresource.as_deref()), (name, subresource), "{path}");
            assert!(path.starts_with(&place.path()), "{path}");
        }
        assert_eq!(Place::of("/version"), None);
    }
}
