//! Parameters of operations.

use serde_json::{Value, json};

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

/// A part of the path: `name`, `namespace`, `path`.
pub(super) fn path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

/// What every operation takes.
pub(super) fn pretty() -> Value {
    query("pretty", "string", "If 'true', then the output is pretty printed.")
}

fn dry_run() -> Value {
    query("dryRun", "string", "When present, nothing is persisted. The only valid value is All: all stages of the request are processed.")
}

fn field_manager() -> Value {
    query("fieldManager", "string", "Name of the actor that makes these changes, at most 128 printable characters.")
}

fn field_validation() -> Value {
    query(
        "fieldValidation",
        "string",
        "What to do about unknown and duplicate fields. Ignore: drop them silently. Warn: drop them with a warning. Strict: refuse the request.",
    )
}

/// Of create and replace.
pub(super) fn write() -> Vec<Value> {
    vec![dry_run(), field_manager(), field_validation()]
}

/// Of patch.
pub(super) fn patch() -> Vec<Value> {
    let force = query("force", "boolean", "Take over fields that other managers own. Only for apply patches.");
    vec![dry_run(), field_manager(), field_validation(), force]
}

/// Of delete.
pub(super) fn delete() -> Vec<Value> {
    vec![
        dry_run(),
        query("gracePeriodSeconds", "integer", "Seconds before the object is deleted. Zero means at once."),
        query(
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            "boolean",
            "Delete the object even if it cannot be read. Finalizers and preconditions are not honoured then.",
        ),
        query("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Whether dependents are left alone."),
        query("propagationPolicy", "string", "Whether and how dependents are deleted: Orphan, Background or Foreground."),
    ]
}

/// Of list and watch.
pub(super) fn list() -> Vec<Value> {
    vec![
        query("allowWatchBookmarks", "boolean", "Whether the watch may send events of type BOOKMARK."),
        query("continue", "string", "Where to go on: the token that the list before answered with."),
        query("fieldSelector", "string", "Only objects whose fields match."),
        query("labelSelector", "string", "Only objects whose labels match."),
        query("limit", "integer", "At most so many objects; if there are more, the list has a token to go on."),
        query("resourceVersion", "string", "How fresh the answer must be, or where the watch begins."),
        query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
        query("sendInitialEvents", "boolean", "Whether the watch begins with the objects there are, then a bookmark."),
        query("timeoutSeconds", "integer", "How long the request may take."),
        query("watch", "boolean", "Send changes as they happen instead of a list."),
    ]
}
