//! Objects that stay live: one object, or the few that a selector names, as whole values.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use serde_json::Value;

use super::call::{Call, encode};
use super::fault::{Fault, FaultKind};
use crate::kinds::Target;

/// News of what is observed.
#[derive(Debug)]
pub enum Seen {
    /// All objects as they are now, by name.
    Now(BTreeMap<String, Value>),
    /// It cannot be read now, and is tried again.
    Lost(Fault),
}

/// Where one object is found as a collection of one.
pub fn path_of(target: &Target) -> String {
    format!("{}?fieldSelector={}", target.kind.path(Some(&target.namespace)), encode(&format!("metadata.name={}", target.name)))
}

/// Lists `path` and watches it until `tell` says that nobody listens. Meant for few objects.
pub async fn observe(client: kube::Client, path: String, tell: impl Fn(Seen) -> bool + Send) {
    let mut pause = Duration::from_millis(250);
    loop {
        match observe_once(&client, &path, &tell).await {
            Ok(()) => return,
            Err(fault) if fault.kind == FaultKind::Gone => continue,
            Err(fault) => {
                if !tell(Seen::Lost(fault)) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(4));
            }
        }
    }
}

async fn observe_once(client: &kube::Client, path: &str, tell: &(impl Fn(Seen) -> bool + Send)) -> Result<(), Fault> {
    let answer = Call::get(path).send(client).await?;
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let type_of = |field: &str| answer.get(field).cloned();
    let kind = answer.get("kind").and_then(Value::as_str).map(|kind| Value::from(kind.trim_end_matches("List")));
    for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        // items of a list do not say what they are
        let mut item = item.clone();
        if let Some(map) = item.as_object_mut() {
            if let (None, Some(version)) = (map.get("apiVersion"), type_of("apiVersion")) {
                map.insert("apiVersion".to_owned(), version);
            }
            if let (None, Some(kind)) = (map.get("kind"), kind.clone()) {
                map.insert("kind".to_owned(), kind);
            }
        }
        objects.insert(key_of(&item), item);
    }
    let mut revision = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !tell(Seen::Now(objects.clone())) {
        return Ok(());
    }
    loop {
        let started = std::time::Instant::now();
        let separator = if path.contains('?') { '&' } else { '?' };
        let call = Call::get(format!("{path}{separator}watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={revision}"));
        let mut stream = Box::pin(client.request_stream(call.request()?).await?);
        let mut line = Vec::new();
        loop {
            line.clear();
            match stream.read_until(b'\n', &mut line).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Fault::new(FaultKind::Unreachable, format!("the watch broke: {error}"))),
            }
            let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { continue };
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            if let Some(newer) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
                revision = newer.to_owned();
            }
            match event.get("type").and_then(Value::as_str).unwrap_or_default() {
                "ERROR" => return Err(Fault::from_status(&object)),
                "DELETED" => drop(objects.remove(&key_of(&object))),
                "ADDED" | "MODIFIED" => drop(objects.insert(key_of(&object), object)),
                _ => continue,
            }
            if !tell(Seen::Now(objects.clone())) {
                return Ok(());
            }
        }
        if started.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn key_of(object: &Value) -> String {
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", metadata("namespace"), metadata("name"))
}
