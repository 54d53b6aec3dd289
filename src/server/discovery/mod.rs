//! What the server serves: `/api`, `/apis` and below, in the plain form and the aggregated one, from the registry of kinds.

mod aggregated;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use bytes::Bytes;
use coracle_api::kinds::{self, Kind, Text};
use serde_json::{Value, json};

use crate::custom::version_priority;

/// A document with what its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// `ETag`, quotes included, where clients may keep the document.
    pub etag: Option<String>,
}

/// An API group's name and its versions, the preferred one first.
type Groups = Vec<(String, Vec<String>)>;

/// The document at a path; `None` where there is none. `accept` chooses between the plain and the aggregated form of
/// `/api` and `/apis`, as clients list them; `address` is where this server is reached, `host:port`.
pub fn answer(path: &str, accept: &str, address: &str, customs: &[Arc<Kind>]) -> Option<Document> {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let (["api" | "apis"], Some(form)) = (segments.as_slice(), aggregated::Form::accepted(accept)) {
        return Some(form.document(segments == ["api"], customs));
    }
    let value = match segments.as_slice() {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": address},
        ]}),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(customs).iter().filter(|(name, _)| !name.is_empty()).map(|(name, versions)| group(name, versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", version] => resources("", version, customs)?,
        ["apis", name] => {
            let (name, versions) = groups(customs).into_iter().find(|(own, _)| own == name && !own.is_empty())?;
            let mut value = group(&name, &versions);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            value
        }
        ["apis", group, version] => resources(group, version, customs)?,
        _ => return None,
    };
    Some(Document { content_type: "application/json", body: Bytes::from(value.to_string()), etag: None })
}

/// Every path that answers something, for `/`.
pub fn paths(customs: &[Arc<Kind>]) -> Value {
    let mut paths: Vec<String> = FIXED.iter().map(|&path| path.to_owned()).collect();
    for (group, versions) in groups(customs) {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
        paths.extend(
            versions.iter().map(|version| if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }),
        );
    }
    paths.sort();
    json!({"paths": paths})
}

const FIXED: [&str; 13] = [
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

fn groups(customs: &[Arc<Kind>]) -> Groups {
    let mut groups: Groups = Vec::new();
    let mut customs: Vec<&Kind> = customs.iter().map(|kind| &**kind).collect();
    customs.sort_by_cached_key(|kind| (kind.group.to_string(), version_priority(&kind.version)));
    for kind in kinds::builtin().iter().chain(customs) {
        let (group, version) = (kind.group.to_string(), kind.version.to_string());
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": kinds::api_version(name, version), "version": version});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// Kinds of a group version by their plural names.
fn rows<'a>(group: &str, version: &str, customs: &'a [Arc<Kind>]) -> BTreeMap<&'a str, &'a Kind> {
    let all = kinds::builtin().iter().chain(customs.iter().map(|kind| &**kind));
    let rows = all.filter(|kind| kind.group == group && kind.version == version);
    rows.map(|kind| (&*kind.plural, kind)).collect()
}

fn resources(group: &str, version: &str, customs: &[Arc<Kind>]) -> Option<Value> {
    let rows = rows(group, version, customs);
    if rows.is_empty() {
        return None;
    }
    let mut resources = Vec::new();
    for kind in rows.values() {
        let mut row = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": kind.verbs,
        });
        for (field, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
            if !list.is_empty() {
                row[field] = json!(list);
            }
        }
        if kind.stored {
            row["storageVersionHash"] = json!(storage_hash(kind));
        }
        resources.push(row);
        for part in &kind.subresources {
            let mut row = json!({
                "name": format!("{}/{}", kind.plural, part.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": part.kind, "verbs": part.verbs,
            });
            if (&part.group, &part.version) != (&kind.group, &kind.version) {
                row["group"] = json!(part.group);
                row["version"] = json!(part.version);
            }
            resources.push(row);
        }
    }
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds::api_version(group, version), "resources": resources}))
}

/// Tells clients when objects are stored in another version than before; upstream's hash.
fn storage_hash(kind: &Kind) -> String {
    let (group, mut version): (&Text, &str) = (&kind.storage.0, &kind.storage.1);
    if let Some(custom) = &kind.custom {
        version = &custom.stored_version;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{group}/{version}/{}", kind.kind).as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest.as_ref().get(..8).unwrap_or_default())
}

/// A quoted ETag for a body.
pub(crate) fn etag(body: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, body);
    format!("\"{}\"", hex(digest.as_ref()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The aggregated documents, made once.
static AGGREGATED: LazyLock<aggregated::Documents> = LazyLock::new(|| aggregated::Documents::make(&[]));

#[cfg(test)]
mod tests;
