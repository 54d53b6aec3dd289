//! Other servers' groups in this server's discovery documents.

use std::collections::BTreeMap;

use bytes::Bytes;
use coracle_api::kinds::api_version;
use serde_json::{Value, json};

use super::{Aggregator, Served};
use crate::discovery::{Document, etag};

impl Aggregator {
    /// Adds what other servers serve to a document of this one, which may have none at the path; with `own`, also what this
    /// one serves besides its kinds.
    pub(crate) fn merge(&self, path: &str, document: Option<Document>, own: bool) -> Option<Document> {
        let all = self.served.read();
        let served: Vec<&Served> = all.values().filter(|one| own || !one.own).collect();
        if served.is_empty() {
            return document;
        }
        let groups = groups(served.iter().copied());
        let Some(document) = document else {
            let asked = path.strip_prefix("/apis/")?;
            if let Some(one) = served.iter().find(|one| api_version(&one.group, &one.version) == asked) {
                let body = Bytes::from(one.resources.to_string());
                return Some(Document { content_type: "application/json", body, etag: None });
            }
            let versions = groups.get(asked)?;
            let mut group = plain(&versions[0].group, versions);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            return Some(Document { content_type: "application/json", body: Bytes::from(group.to_string()), etag: None });
        };
        if !matches!(path, "/apis" | "/openapi/v3") {
            return Some(document);
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&document.body) else { return Some(document) };
        for (name, versions) in &groups {
            add(&mut body, name, versions);
        }
        let body = Bytes::from(body.to_string());
        Some(Document { etag: document.etag.map(|_| etag(&body)), body, ..document })
    }
}

/// The versions of each group, the preferred first.
fn groups<'a>(served: impl Iterator<Item = &'a Served>) -> BTreeMap<&'a str, Vec<&'a Served>> {
    let mut groups: BTreeMap<&str, Vec<&Served>> = BTreeMap::new();
    for one in served {
        groups.entry(&one.group).or_default().push(one);
    }
    groups.values_mut().for_each(|versions| versions.sort_by_key(|one| std::cmp::Reverse(one.priority)));
    groups
}

fn add(body: &mut Value, name: &str, versions: &[&Served]) {
    if let Some(paths) = body.get_mut("paths") {
        for Served { group, version, .. } in versions.iter().filter(|one| !one.own) {
            paths[format!("apis/{group}/{version}")] = json!({"serverRelativeURL": format!("/openapi/v3/apis/{group}/{version}")});
        }
        return;
    }
    if let Some(list) = body.get_mut("groups").and_then(Value::as_array_mut) {
        list.push(plain(name, versions));
    }
    if let Some(list) = body.get_mut("items").and_then(Value::as_array_mut) {
        let versions: Vec<Value> =
            versions.iter().map(|one| json!({"version": one.version, "resources": resources(one), "freshness": "Current"})).collect();
        list.push(json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions}));
    }
}

fn plain(name: &str, versions: &[&Served]) -> Value {
    let all: Vec<Value> =
        versions.iter().map(|one| json!({"groupVersion": api_version(name, &one.version), "version": one.version})).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// The aggregated form of a list of resources: subresources are part of theirs.
fn resources(served: &Served) -> Vec<Value> {
    let rows = served.resources["resources"].as_array().cloned().unwrap_or_default();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let response_kind = |row: &Value| {
        let or = |given: String, own: &str| if given.is_empty() { own.to_owned() } else { given };
        json!({"group": or(text(row, "group"), &served.group), "version": or(text(row, "version"), &served.version), "kind": row["kind"]})
    };
    let mut out = Vec::new();
    for row in rows.iter().filter(|row| !text(row, "name").contains('/')) {
        let name = text(row, "name");
        let scope = if row["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({"resource": name, "responseKind": response_kind(row), "scope": scope,
            "singularResource": text(row, "singularName"), "verbs": row["verbs"]});
        for field in ["shortNames", "categories"] {
            if row[field].is_array() {
                resource[field] = row[field].clone();
            }
        }
        let parts = rows.iter().filter_map(|part| {
            let own = text(part, "name");
            let own = own.strip_prefix(&name)?.strip_prefix('/')?;
            Some(json!({"subresource": own, "responseKind": response_kind(part), "verbs": part["verbs"]}))
        });
        let parts: Vec<Value> = parts.collect();
        if !parts.is_empty() {
            resource["subresources"] = json!(parts);
        }
        out.push(resource);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn aggregator() -> Aggregator {
        let resources = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["update"]},
        ]});
        let served = |version: &str, priority: i64| Served {
            group: "wardle.example.com".into(),
            version: version.into(),
            priority: (2_000, priority),
            resources: resources.clone(),
            own: false,
        };
        let aggregator = Aggregator { client: None, served: Default::default() };
        aggregator.served.write().extend([("a".to_owned(), served("v1alpha1", 100)), ("b".to_owned(), served("v1", 200))]);
        aggregator
    }

    fn merged(path: &str, own: Option<Value>) -> Value {
        let document =
            own.map(|own| Document { content_type: "application/json", body: own.to_string().into(), etag: Some("\"x\"".into()) });
        let merged = aggregator().merge(path, document, false).unwrap();
        assert_ne!(merged.etag.as_deref(), Some("\"x\""));
        serde_json::from_slice(&merged.body).unwrap()
    }

    #[test]
    fn every_form_of_discovery_names_them() {
        let plain = merged("/apis", Some(json!({"kind": "APIGroupList", "groups": [{"name": "apps"}]})));
        assert_eq!(plain["groups"][1]["preferredVersion"], json!({"groupVersion": "wardle.example.com/v1", "version": "v1"}));
        assert_eq!(merged("/apis/wardle.example.com", None)["kind"], "APIGroup");
        let all = merged("/apis", Some(json!({"kind": "APIGroupDiscoveryList", "items": []})));
        let version = &all["items"][0]["versions"][1];
        assert_eq!((&version["version"], version["resources"].as_array().unwrap().len()), (&json!("v1alpha1"), 1));
        assert_eq!(version["resources"][0]["subresources"][0]["subresource"], "status");
        assert_eq!(version["resources"][0]["responseKind"]["group"], "wardle.example.com");
        let index = merged("/openapi/v3", Some(json!({"paths": {"api/v1": {}}})));
        assert!(index["paths"]["apis/wardle.example.com/v1"]["serverRelativeURL"].is_string());
        assert!(aggregator().merge("/apis/none.example.com", None, true).is_none());
    }
}
