//! Writes of this session that can be undone: what the object was before, and what it was after.

use serde_json::{Value, json};

use crate::app::App;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::Call;
use crate::text::yaml;

/// A write.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was written.
    pub target: Target,
    /// What was done, in words.
    pub done: String,
    /// The object before; `None` if the write made it.
    pub before: Option<Value>,
    /// The object after; `None` if the write deleted it.
    pub after: Option<Value>,
}

/// The writes that can be undone, and those that were.
#[derive(Debug, Default)]
pub struct Changes {
    done: Vec<Change>,
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
        self.done.push(change);
    }
}

/// Makes of the object what it was before the last write.
pub fn undo(app: &mut App) {
    match app.shared.changes.done.pop() {
        Some(change) => {
            let back = Change { before: change.after.clone(), after: change.before.clone(), ..change.clone() };
            travel(app, back, format!("undone: {}", change.done), move |app, made| match made {
                true => app.shared.changes.undone.push(change),
                false => app.shared.changes.done.push(change),
            });
        }
        None => app.shared.say(Level::Info, "nothing to undo"),
    }
}

/// Makes again what was undone last.
pub fn redo(app: &mut App) {
    match app.shared.changes.undone.pop() {
        Some(change) => travel(app, change.clone(), format!("done again: {}", change.done), move |app, made| match made {
            true => app.shared.changes.done.push(change),
            false => app.shared.changes.undone.push(change),
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

/// The call that leads from `change.before` to `change.after`.
pub fn call_of(change: &Change) -> Option<Call> {
    match (&change.before, &change.after) {
        (None, Some(after)) => Some(Call::post(change.target.kind.path(Some(&change.target.namespace)), creatable(after))),
        (Some(_), None) => Some(Call::delete(&change.target, "Background", None)),
        (Some(before), Some(after)) => {
            let patch = yaml::merge_patch(&yaml::editable(before), &yaml::editable(after))?;
            Some(Call::merge(&change.target, "", patch, false))
        }
        (None, None) => None,
    }
}

fn travel(app: &mut App, change: Change, said: String, then: impl FnOnce(&mut App, bool) + Send + 'static) {
    let Some(call) = call_of(&change) else {
        app.shared.say(Level::Info, format!("{said}: there was no difference"));
        return then(app, true);
    };
    app.shared.jobs += 1;
    app.shared.call(
        call,
        Box::new(move |app, answer| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            let lost = change.before.is_none() && !app.shared.connection.as_ref().is_some_and(|connection| connection.embedded);
            match &answer {
                Ok(_) if lost => app.shared.say(Level::Done, format!("{said} (created again; its uid, status and what it owned are new)")),
                Ok(_) => app.shared.say(Level::Done, said),
                Err(fault) => app.shared.fail(&format!("not {said}"), fault),
            }
            then(app, answer.is_ok());
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
    then: impl FnOnce(&mut App, Result<Value, crate::source::fault::Fault>) + Send + 'static,
) {
    app.shared.jobs += 1;
    let target = target.clone();
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, before| {
            let before = before.ok();
            let deletes = call.method == "DELETE";
            app.shared.call(
                call,
                Box::new(move |app, answer| {
                    app.shared.jobs = app.shared.jobs.saturating_sub(1);
                    match &answer {
                        Ok(_) => {
                            app.shared.say(Level::Done, done.clone());
                            remember(app, target, done, before, deletes);
                        }
                        Err(fault) => app.shared.fail(&format!("not {done}"), fault),
                    }
                    then(app, answer);
                }),
            );
        }),
    );
}

/// Keeps a write that was made. What it came to is read, as a subresource's answer is not the object.
pub fn remember(app: &mut App, target: Target, done: String, before: Option<Value>, deletes: bool) {
    if deletes {
        return app.shared.changes.push(Change { target, done, before, after: None });
    }
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, after| {
            if let Ok(after) = after {
                app.shared.changes.push(Change { target, done, before, after: Some(after) });
            }
        }),
    );
}

/// An object is made as it was at some time; what it is now is asked first.
pub fn restore(app: &mut App, target: Target, wanted: Value) {
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, now| {
            let done = format!("{} restored", target.shown());
            let change = Change { target, done: done.clone(), before: now.ok(), after: Some(wanted) };
            travel(app, change.clone(), done, move |app, made| {
                if made {
                    app.shared.changes.push(change);
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
