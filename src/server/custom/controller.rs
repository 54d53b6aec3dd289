//! Gives definitions their names and conditions, and removes the objects of those that are deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::custom::{CLEANUP_FINALIZER, GROUP, PLURAL, has_condition, status};
use coracle_api::identity::Identity;
use coracle_api::time;
use coracle_store::{Change, Expect, ListOptions, Write};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::follow::follow;
use crate::objects::key;
use crate::server::Server;

/// When definitions that wait for objects to go are looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// When a write that failed is tried again.
const IDLE: Duration = Duration::from_secs(300);

/// Watches definitions for as long as there is a server.
pub(crate) fn start(server: &Server) {
    follow(server, key(GROUP, PLURAL, "", ""), |server| Box::pin(async move { if settle_all(server).await { AGAIN } else { IDLE } }));
}

/// Brings every definition's status up to date; says whether one waits for its objects.
async fn settle_all(server: &Server) -> bool {
    let mut waits = false;
    let all = server.0.customs.definitions();
    for definition in &all {
        let now = time::seconds(server.0.clock.now());
        let metadata = &definition["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|list| list.iter().any(|name| name == CLEANUP_FINALIZER));
        if metadata["deletionTimestamp"].is_string() {
            if held && clean(server, definition).await {
                let mut new = (**definition).clone();
                status::release(&mut new, &now);
                waits |= !put_status(server, new).await;
            } else {
                waits |= held;
            }
            continue;
        }
        let new = status::settled(definition, &all, &now);
        if new["status"] != definition["status"] {
            waits |= !put_status(server, new).await;
        }
    }
    waits
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

async fn send(server: &Server, method: Method, path: &str, body: String) -> bool {
    let identity = Identity::new("system:apiserver", &["system:masters"]);
    let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, "application/json").extension(identity);
    let Ok(request) = request.body(Full::new(Bytes::from(body))) else { return false };
    // The request is one of the server's own: it must not be waited for in itself.
    let response = Box::pin(server.handle(request)).await;
    response.status().is_success()
}

async fn put_status(server: &Server, mut definition: Value) -> bool {
    definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
    definition["kind"] = json!("CustomResourceDefinition");
    let path = format!("/apis/{GROUP}/v1/{PLURAL}/{}/status", text(&definition["metadata"], "name"));
    send(server, Method::PUT, &path, definition.to_string()).await
}

/// Deletes the objects of a definition; says whether none is left.
async fn clean(server: &Server, definition: &Value) -> bool {
    let (spec, plural) = (&definition["spec"], text(&definition["spec"]["names"], "plural"));
    let group = text(spec, "group");
    let left = || {
        let list = server.0.store.list(&key(group, plural, "", ""), &ListOptions::default());
        list.map(|list| list.entries).unwrap_or_default()
    };
    let entries = left();
    let served = spec["versions"].as_array().into_iter().flatten().find(|version| version["served"] == true);
    match served.filter(|_| has_condition(definition, "Established")) {
        Some(version) => {
            let root = format!("/apis/{group}/{}", text(version, "name"));
            let places: BTreeSet<String> = entries
                .iter()
                .map(|entry| match entry.key.rsplit('/').nth(1) {
                    Some(namespace) if spec["scope"] == "Namespaced" => format!("{root}/namespaces/{namespace}/{plural}"),
                    _ => format!("{root}/{plural}"),
                })
                .collect();
            for path in places {
                send(server, Method::DELETE, &path, String::new()).await;
            }
        }
        None => {
            // No version to ask for them in: they go as they are stored.
            for entry in entries {
                let write = Write { key: entry.key.to_string(), expect: Expect::Revision(entry.revision), change: Change::Delete };
                let _ = server.0.store.write(write).await;
            }
        }
    }
    left().is_empty()
}
