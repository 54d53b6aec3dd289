//! Aggregated discovery: all groups and resources in two documents (`apidiscovery.k8s.io`).

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::kinds::{Kind, Subresource};
use serde_json::{Value, json};

use super::{AGGREGATED, Document, etag, groups, rows};

/// The version of the aggregated form a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V2Beta1,
}

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Form {
    /// The first form of an `Accept` header that this server writes; `None` for the plain one.
    pub(super) fn accepted(accept: &str) -> Option<Self> {
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let has = |parameter: &str| parameters.contains(&parameter);
            let aggregated = has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList");
            match media {
                "application/json" | "*/*" | "application/*" if aggregated && has("v=v2") => return Some(Self::V2),
                "application/json" | "*/*" | "application/*" if aggregated && has("v=v2beta1") => return Some(Self::V2Beta1),
                "application/json" if parameters.iter().all(|parameter| parameter.starts_with("q=")) => return None,
                _ => {}
            }
        }
        None
    }

    /// The document of the core group (`/api`) or of all others (`/apis`).
    pub(super) fn document(self, core: bool, customs: &[Arc<Kind>]) -> Document {
        let made;
        let Documents { v2, v2beta1 } = if core || customs.is_empty() {
            &*AGGREGATED
        } else {
            made = Documents::make(customs);
            &made
        };
        let [api, apis] = if self == Self::V2 { v2 } else { v2beta1 };
        if core { api.clone() } else { apis.clone() }
    }
}

/// `/api` and `/apis` in each form.
pub(super) struct Documents {
    v2: [Document; 2],
    v2beta1: [Document; 2],
}

impl Documents {
    pub(super) fn make(customs: &[Arc<Kind>]) -> Self {
        let (core, others): (Vec<_>, Vec<_>) = groups(customs).into_iter().partition(|(name, _)| name.is_empty());
        let items = |groups: &super::Groups| groups.iter().map(|(name, versions)| group(name, versions, customs)).collect::<Vec<Value>>();
        let both = [items(&core), items(&others)];
        let make = |api_version: &str, content_type| {
            both.each_ref().map(|items| {
                let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items});
                let body = Bytes::from(list.to_string());
                Document { content_type, etag: Some(etag(&body)), body }
            })
        };
        Self { v2: make("apidiscovery.k8s.io/v2", V2), v2beta1: make("apidiscovery.k8s.io/v2beta1", V2_BETA1) }
    }
}

fn group(name: &str, versions: &[String], customs: &[Arc<Kind>]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = rows(name, version, customs).into_values().map(resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !name.is_empty() {
        metadata["name"] = json!(name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn resource(kind: &Kind) -> Value {
    let mut row = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    for (field, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !list.is_empty() {
            row[field] = json!(list);
        }
    }
    if !kind.subresources.is_empty() {
        row["subresources"] = kind.subresources.iter().map(subresource).collect();
    }
    row
}

fn subresource(part: &Subresource) -> Value {
    json!({
        "subresource": part.name,
        "responseKind": {"group": part.group, "version": part.version, "kind": part.kind},
        "verbs": part.verbs,
    })
}
