//! Time travel: earlier versions of objects, as far as the server keeps them, and undoing what was written.
//!
//! A watch from an early revision tells every version since; nothing but the public API is asked. The embedded cluster
//! keeps its history on disk, others keep minutes.

use std::collections::HashMap;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use serde_json::Value;

use super::object::target;
use crate::action::Scopes;
use crate::app::App;
use crate::keep::changes;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::{Call, encode};
use crate::source::fault::{Fault, FaultKind};
use crate::source::printer::moment;
use crate::source::work::{Outside, work};
use crate::table::{Column, ColumnKind, Health, Row};
use crate::text::diff::diff;
use crate::text::yaml;
use crate::views::table::{Made, TableView};
use crate::views::text::TextView;
use crate::widgets::diff::DiffLayer;

/// Undoes the last write.
pub fn undo(app: &mut App) {
    changes::undo(app);
}

/// Does again what was undone.
pub fn redo(app: &mut App) {
    changes::redo(app);
}

/// A version of an object.
struct Version {
    revision: u64,
    deleted: bool,
    object: Value,
}

/// The earliest revision that can still be watched from: found by halving, as the server only says "too old".
async fn earliest(outside: &Outside, path: &str, now: u64) -> Result<u64, Fault> {
    let too_old = async |revision: u64| {
        let call = Call::get(format!("{path}{}limit=1&resourceVersion={revision}&resourceVersionMatch=Exact", separator(path)));
        match outside.ask(call).await {
            Ok(_) => Ok(false),
            Err(fault) if fault.kind == FaultKind::Gone => Ok(true),
            Err(fault) => Err(fault),
        }
    };
    let (mut low, mut high) = (1, now);
    if !too_old(low).await? {
        return Ok(low);
    }
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        match too_old(middle).await? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(high)
}

fn separator(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

/// All versions that are kept of what `path` lists, oldest first.
async fn versions(outside: &Outside, path: &str) -> Result<Vec<Version>, Fault> {
    let list = outside.ask(Call::get(path)).await?;
    let revision =
        |object: &Value| object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
    let now = revision(&list).unwrap_or_default();
    let from = earliest(outside, path, now).await?;
    let then = outside.ask(Call::get(format!("{path}{}resourceVersion={from}&resourceVersionMatch=Exact", separator(path)))).await?;
    let items = then.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found: Vec<Version> =
        items.into_iter().map(|object| Version { revision: revision(&object).unwrap_or_default(), deleted: false, object }).collect();
    let watch = format!("{path}{}watch=true&resourceVersion={from}&timeoutSeconds=2&allowWatchBookmarks=true", separator(path));
    let request = Call::get(watch).request()?;
    let client = outside.client()?;
    let mut stream = Box::pin(client.request_stream(request).await.map_err(Fault::from)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        // what is kept comes without a pause; then the present is reached
        match tokio::time::timeout(Duration::from_millis(500), stream.read_until(b'\n', &mut line)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
        let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { continue };
        let deleted = match event.get("type").and_then(Value::as_str) {
            Some("DELETED") => true,
            Some("ADDED" | "MODIFIED") => false,
            _ => continue,
        };
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let at = revision(&object).unwrap_or_default();
        found.push(Version { revision: at, deleted, object });
        if at >= now {
            break;
        }
    }
    Ok(found)
}

/// When a version was written, and who wrote it: what its managed fields say.
fn written(object: &Value) -> (i64, String) {
    let fields = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let last = fields.into_iter().flatten().max_by_key(|entry| moment(entry, "/time"));
    let manager = last.and_then(|entry| entry.get("manager")).and_then(Value::as_str).unwrap_or_default().to_owned();
    let deleted = moment(object, "/metadata/deletionTimestamp");
    (last.map_or(0, |entry| moment(entry, "/time")).max(deleted).max(moment(object, "/metadata/creationTimestamp")), manager)
}

/// Which fields differ, in a few words.
fn changed(before: Option<&Value>, after: &Value) -> String {
    let Some(before) = before else { return "created".to_owned() };
    let clean = |object: &Value| {
        let mut object = yaml::without_managed_fields(object);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        object
    };
    let mut names = Vec::new();
    let patch = yaml::merge_patch(&clean(before), &clean(after)).unwrap_or_default();
    fields(&patch, "", &mut names);
    names.join(", ")
}

fn fields(patch: &Value, path: &str, names: &mut Vec<String>) {
    match patch.as_object().filter(|map| !map.is_empty()) {
        Some(map) if path.matches('.').count() < 2 => {
            for (name, value) in map {
                fields(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, names);
            }
        }
        _ if path.is_empty() => {}
        _ => names.push(match patch {
            Value::Null => format!("-{path}"),
            Value::String(text) if text.len() < 40 => format!("{path}={text}"),
            Value::Number(number) => format!("{path}={number}"),
            Value::Bool(on) => format!("{path}={on}"),
            _ => path.to_owned(),
        }),
    }
}

fn columns() -> Vec<Column> {
    let mut columns: Vec<Column> =
        [("Revision", "integer"), ("Name", "string"), ("What", "string"), ("By", "string"), ("Changed", "string")]
            .iter()
            .map(|(name, of)| Column::new(name, of, false))
            .collect();
    columns.insert(1, Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false });
    columns
}

fn rows(versions: Vec<Version>, of: &Target) -> Vec<Row> {
    let mut last: HashMap<String, Value> = HashMap::new();
    let mut rows = Vec::new();
    for version in versions {
        let text = |pointer: &str| version.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let before = last.get(&format!("{namespace}/{name}"));
        let (at, by) = written(&version.object);
        let (what, health) = match (version.deleted, before) {
            (true, _) => ("deleted", Health::Leaving),
            (false, None) => ("created", Health::Done),
            (false, Some(_)) => ("changed", Health::Fine),
        };
        let change = if version.deleted { String::new() } else { changed(before, &version.object) };
        let cells = [version.revision.to_string(), String::new(), name.clone(), what.to_owned(), by, change];
        let extra = [before.map(Value::to_string).unwrap_or_default(), version.object.to_string()];
        let target = Target { kind: of.kind.clone(), namespace: namespace.clone(), name: name.clone() };
        rows.push(
            Row::made(&cells, health)
                .keyed(&format!("{:020}", u64::MAX - version.revision))
                .timed(vec![at])
                .with(extra)
                .about(Some(target)),
        );
        match version.deleted {
            true => drop(last.remove(&format!("{namespace}/{name}"))),
            false => drop(last.insert(format!("{namespace}/{name}"), version.object)),
        }
    }
    rows
}

/// Earlier versions of the object under the cursor.
pub fn of_object(app: &mut App) {
    if let Some(target) = target(app) {
        let path =
            format!("{}?fieldSelector={}", target.kind.path(Some(&target.namespace)), encode(&format!("metadata.name={}", target.name)));
        let of = target.shown();
        show(app, target, path, of);
    }
}

/// Earlier versions of every object of the kind that is shown.
pub fn of_kind(app: &mut App, kind: std::sync::Arc<crate::kinds::Kind>) {
    let namespace = app.shared.namespaces.single().map(str::to_owned);
    let path = kind.path(namespace.as_deref());
    let of = format!("all {}", kind.plural);
    show(app, Target { kind, namespace: namespace.unwrap_or_default(), name: String::new() }, path, of);
}

fn show(app: &mut App, target: Target, path: String, of: String) {
    let made = Made {
        of,
        command: None,
        scopes: Scopes::HISTORY,
        hints: &["help", "back", "version-diff", "version-yaml", "restore", "version-table"],
        ..Made::new("versions", move |_| {
            let (target, path) = (target.clone(), path.clone());
            work(move |outside| async move {
                let found = versions(&outside, &path).await;
                outside.table_or_fault(&columns(), found.map(|versions| rows(versions, &target)));
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// The version under the cursor: revision, what it is about, before, after.
fn chosen(app: &mut App) -> Option<(String, Target, Option<Value>, Value)> {
    let mut found = None;
    app.with(|view: &mut TableView, _| {
        found = view.row().map(|row| (row.cell(0).to_owned(), row.extra.clone()));
    });
    let target = target(app)?;
    let (revision, extra) = found?;
    let [before, after]: [String; 2] = extra.into_vec().try_into().ok()?;
    Some((revision, target, serde_json::from_str(&before).ok(), serde_json::from_str(&after).ok()?))
}

/// The difference to the version before.
pub fn diff_version(app: &mut App) {
    let Some((revision, target, before, after)) = chosen(app) else { return };
    let print = |object: &Value| yaml::print(&yaml::without_managed_fields(object));
    let lines = diff(&before.as_ref().map(print).unwrap_or_default(), &print(&after));
    let title = format!("{} at revision {revision}", target.shown());
    app.lay(Box::new(DiffLayer::read_only(title, lines)));
}

/// The YAML of the version.
pub fn yaml_version(app: &mut App) {
    let Some((revision, target, _, after)) = chosen(app) else { return };
    let text = yaml::print(&yaml::without_managed_fields(&after));
    app.push(Box::new(TextView::document(format!("{} at revision {revision}", target.shown()), text, true)));
}

/// Makes the object as it was then, after showing the difference.
pub fn restore(app: &mut App) {
    let Some((revision, target, _, wanted)) = chosen(app) else { return };
    app.shared.call(
        Call::read(&target),
        Box::new(move |app, now| {
            let now = match now {
                Ok(now) => Some(now),
                Err(fault) if fault.kind == FaultKind::NotFound => None,
                Err(fault) => return app.shared.fail(&target.shown(), &fault),
            };
            let print = |object: &Value| yaml::print(&yaml::editable(object));
            let lines = diff(&now.as_ref().map(print).unwrap_or_default(), &print(&wanted));
            if lines.is_empty() {
                return app.shared.say(Level::Info, "it is like this now");
            }
            let title = format!("restore {} as of revision {revision}", target.shown());
            let limited = !app.shared.connection.as_ref().is_some_and(|connection| connection.embedded);
            let mut warning = Vec::new();
            if now.is_none() {
                warning.push("it is created again: its uid, its status and what it owned are not restored".to_owned());
            }
            if limited {
                warning.push("this cluster is not ours: it keeps a few minutes of history".to_owned());
            }
            app.lay(Box::new(DiffLayer::new(title, warning, lines, move |app| changes::restore(app, target, wanted))));
        }),
    );
}

/// The whole table as it was at the revision under the cursor.
pub fn table_then(app: &mut App) {
    if let Some((revision, target, ..)) = chosen(app) {
        table_at(app, target.kind, revision);
    }
}

/// A table as it was at a revision.
pub fn table_at(app: &mut App, kind: std::sync::Arc<crate::kinds::Kind>, revision: String) {
    let mut view = TableView::of(kind);
    view.at_revision(revision);
    app.push(Box::new(view));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_told_in_a_few_words() {
        let before =
            json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}, "spec": {"replicas": 1, "template": {"spec": {"x": 1}}}});
        let after = json!({"metadata": {"resourceVersion": "2"}, "spec": {"replicas": 3, "template": {"spec": {"x": 2}}}});
        assert_eq!(changed(Some(&before), &after), "-metadata.labels, spec.replicas=3, spec.template.spec");
        assert_eq!(changed(None, &after), "created");
    }

    #[test]
    fn the_last_writer_is_named() {
        let object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [
            {"manager": "kubectl", "time": "2026-01-01T00:00:00Z"}, {"manager": "coracle", "time": "2026-01-01T00:00:05Z"}]}});
        let (at, by) = written(&object);
        assert_eq!(by, "coracle");
        assert_eq!(at, "2026-01-01T00:00:05Z".parse::<jiff::Timestamp>().unwrap().as_second());
    }
}
