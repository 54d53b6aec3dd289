//! The describe text of an object, kept live: its object and its events.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::observe::{Seen, observe, path_of};
use crate::age;
use crate::kinds::Target;

/// News of a description.
#[derive(Debug)]
pub enum Described {
    /// The text as of now; `None` when the object is gone.
    Text(Option<String>),
    /// It cannot be read now.
    Lost(Fault),
}

enum Part {
    Object(Seen),
    Events(Seen),
}

/// Describes `target` again whenever it or an event about it changes, until `tell` says that nobody listens.
pub async fn describe(client: kube::Client, target: Target, now: impl Fn() -> Timestamp + Send, tell: impl Fn(Described) -> bool + Send) {
    let (sender, mut parts) = mpsc::unbounded_channel();
    let events = {
        let place = if target.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", target.namespace) };
        let about = format!("involvedObject.name={},involvedObject.kind={}", target.name, target.kind.kind);
        format!("/api/v1{place}/events?fieldSelector={}", super::call::encode(&about))
    };
    let object_sender = sender.clone();
    let objects = observe(client.clone(), path_of(&target), move |seen| object_sender.send(Part::Object(seen)).is_ok());
    let events = observe(client.clone(), events, move |seen| sender.send(Part::Events(seen)).is_ok());
    let writing = async {
        let mut object: Option<Option<Value>> = None;
        let mut events: Option<Vec<Value>> = None;
        while let Some(part) = parts.recv().await {
            let mut part = Some(part);
            // what comes together is described once
            while let Some(one) = part {
                match one {
                    Part::Object(Seen::Now(objects)) => object = Some(objects.into_values().next()),
                    Part::Object(Seen::Lost(fault)) => {
                        if !tell(Described::Lost(fault)) {
                            return;
                        }
                    }
                    Part::Events(Seen::Now(found)) => events = Some(sorted(found)),
                    // events may be forbidden where objects are not
                    Part::Events(Seen::Lost(_)) => events = Some(events.take().unwrap_or_default()),
                }
                part = tokio::time::timeout(Duration::from_millis(20), parts.recv()).await.ok().flatten();
            }
            let (Some(object), Some(events)) = (&object, &events) else { continue };
            let text = match object {
                Some(object) => Some(text(&client, object, events, now()).await),
                None => None,
            };
            if !tell(Described::Text(text)) {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        ((), ()) = async { futures::join!(objects, events) } => {}
    }
}

fn sorted(events: BTreeMap<String, Value>) -> Vec<Value> {
    let mut events: Vec<Value> = events.into_values().collect();
    events.sort_by_key(last_seen);
    events
}

/// When an event was last seen, seconds since 1970.
pub fn last_seen(event: &Value) -> i64 {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"]
        .iter()
        .map(|pointer| super::printer::moment(event, pointer))
        .find(|&time| time > 0)
        .unwrap_or_default()
}

/// The text in kubectl's words where the kind has them, else field by field.
async fn text(client: &kube::Client, object: &Value, events: &[Value], now: Timestamp) -> String {
    match coracle_verbs::describe(client.clone(), object).await {
        Ok(text) => text,
        Err(_) => plain(object, events, now),
    }
}

/// Any object, field by field, and its events.
fn plain(object: &Value, events: &[Value], now: Timestamp) -> String {
    let mut text = String::new();
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}"));
    for (label, value) in [
        ("Name", metadata("name")),
        ("Namespace", metadata("namespace")),
        ("Labels", metadata("labels")),
        ("Annotations", metadata("annotations")),
        ("API Version", object.get("apiVersion")),
        ("Kind", object.get("kind")),
        ("Created", metadata("creationTimestamp")),
    ] {
        write_field(&mut text, label, value.unwrap_or(&Value::Null), 0);
    }
    for (field, value) in object.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            write_field(&mut text, &title(field), value, 0);
        }
    }
    if events.is_empty() {
        text.push_str("Events:       <none>\n");
        return text;
    }
    text.push_str("Events:\n  Type     Reason                Age    From                  Message\n");
    for event in events {
        let field = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let from = if field("/source/component").is_empty() { field("/reportingComponent") } else { field("/source/component") };
        let age = age::human(now.as_second() - last_seen(event));
        text.push_str(&format!("  {:<8} {:<21} {age:<6} {from:<21} {}\n", field("/type"), field("/reason"), field("/message").trim()));
    }
    text
}

fn write_field(text: &mut String, label: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let label = format!("{indent}{label}:");
    match value {
        Value::Null if depth == 0 => text.push_str(&format!("{label:<14}<none>\n")),
        Value::Null => {}
        Value::Object(map) if map.is_empty() => text.push_str(&format!("{label:<14}<none>\n")),
        Value::Object(map) => {
            text.push_str(&format!("{label}\n"));
            // keys of labels and the like are names, not fields
            let names = ["Labels:", "Annotations:", "Match Labels:", "Selector:", "Data:", "Node Selector:"].contains(&label.trim());
            for (field, value) in map {
                let field = if names { field.clone() } else { title(field) };
                write_field(text, &field, value, depth + 1);
            }
        }
        Value::Array(items) => {
            text.push_str(&format!("{label}\n"));
            for (index, item) in items.iter().enumerate() {
                write_field(text, &format!("[{index}]"), item, depth + 1);
            }
        }
        Value::String(string) => text.push_str(&format!("{label:<14}{}{string}\n", if label.len() >= 14 { " " } else { "" })),
        other => text.push_str(&format!("{label:<14}{}{other}\n", if label.len() >= 14 { " " } else { "" })),
    }
}

/// `restartPolicy` as `Restart Policy`; names with dots or dashes stay.
fn title(field: &str) -> String {
    if field.contains(['.', '-', '/']) {
        return field.to_owned();
    }
    let mut title = String::new();
    for (index, c) in field.chars().enumerate() {
        if index == 0 {
            title.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !title.ends_with(|before: char| before.is_uppercase()) {
                title.push(' ');
            }
            title.push(c);
        }
    }
    title
}
