//! The kinds a server knows, and how people call them.

use std::sync::Arc;

use serde_json::Value;

/// One resource of the API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kind {
    /// API group; "" for core.
    pub group: String,
    /// Version it is served in.
    pub version: String,
    /// Kind, as `Pod`.
    pub kind: String,
    /// Resource name, as `pods`.
    pub plural: String,
    /// Singular name, as `pod`.
    pub singular: String,
    /// Short names, as `po`.
    pub short_names: Vec<String>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Verbs the server offers.
    pub verbs: Vec<String>,
    /// Subresources, as `scale`.
    pub subresources: Vec<String>,
    /// Groups of kinds that it is asked for with, as `all`.
    pub categories: Vec<String>,
}

impl Kind {
    /// Path of the collection, in a namespace or across all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Group and plural name: tells kinds apart.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Has a pod template: pods belong to it by its selector.
    pub fn is_workload(&self) -> bool {
        (self.group == "apps" && matches!(self.plural.as_str(), "deployments" | "statefulsets" | "daemonsets" | "replicasets"))
            || self.is("batch", "jobs")
            || self.is("", "replicationcontrollers")
    }

    /// Can be asked for more or fewer replicas.
    pub fn is_scalable(&self) -> bool {
        self.subresources.iter().any(|name| name == "scale")
    }

    /// Whether the server offers `verb`; a kind whose verbs are unknown offers all.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.is_empty() || self.verbs.iter().any(|offered| offered == verb)
    }

    fn called(&self, word: &str) -> bool {
        self.plural == word
            || self.singular == word
            || self.short_names.iter().any(|short| short == word)
            || self.kind.to_lowercase() == word
    }
}

/// An object: its kind and where it is.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// Its namespace; empty for kinds outside of namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The same object, however much is known of its kind.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.kind.is(&other.kind.group, &other.kind.plural) && self.namespace == other.namespace && self.name == other.name
    }
}

impl Eq for Target {}

impl Target {
    /// Path of the object.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.path(Some(&self.namespace)), self.name)
    }

    /// `deployment kubia`, for messages.
    pub fn shown(&self) -> String {
        format!("{} {}", self.kind.singular, self.name)
    }
}

/// Every kind a server knows.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    all: Vec<Arc<Kind>>,
}

/// Group, version, kind, plural, short names, namespaced, has scale.
type Known = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str], bool, bool);

/// Known before the server has been asked.
const FIRST: &[Known] = &[
    ("", "v1", "Pod", "pods", &["po"], true, false),
    ("", "v1", "Namespace", "namespaces", &["ns"], false, false),
    ("", "v1", "Node", "nodes", &["no"], false, false),
    ("", "v1", "Service", "services", &["svc"], true, false),
    ("", "v1", "Event", "events", &["ev"], true, false),
    ("", "v1", "ConfigMap", "configmaps", &["cm"], true, false),
    ("", "v1", "Secret", "secrets", &[], true, false),
    ("apps", "v1", "Deployment", "deployments", &["deploy", "dp"], true, true),
    ("apps", "v1", "ReplicaSet", "replicasets", &["rs"], true, true),
    ("apps", "v1", "StatefulSet", "statefulsets", &["sts"], true, true),
    ("apps", "v1", "DaemonSet", "daemonsets", &["ds"], true, false),
];

/// Short names k9s has and discovery has not.
const ALIASES: &[(&str, &str)] = &[
    ("ns", "namespaces"),
    ("no", "nodes"),
    ("ev", "events"),
    ("dp", "deployments"),
    ("sec", "secrets"),
    ("jo", "jobs"),
    ("cj", "cronjobs"),
];

impl Kinds {
    /// The few kinds that can be shown before discovery has answered.
    pub fn first() -> Self {
        let all = FIRST
            .iter()
            .map(|&(group, version, kind, plural, short, namespaced, scale)| {
                Arc::new(Kind {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: kind.to_owned(),
                    plural: plural.to_owned(),
                    singular: kind.to_lowercase(),
                    short_names: short.iter().map(|&name| name.to_owned()).collect(),
                    namespaced,
                    verbs: Vec::new(),
                    subresources: if scale { vec!["scale".to_owned()] } else { Vec::new() },
                    categories: Vec::new(),
                })
            })
            .collect();
        Self { all }
    }

    /// Takes what discovery found; core first, then by group and name. Kinds that cannot be listed are left out.
    pub fn discovered(kinds: Vec<Kind>) -> Self {
        let mut all: Vec<Arc<Kind>> = kinds.into_iter().filter(|kind| kind.can("list")).map(Arc::new).collect();
        all.sort_by(|a, b| (group_rank(&a.group), &a.group, &a.plural).cmp(&(group_rank(&b.group), &b.group, &b.plural)));
        Self { all }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Kind>] {
        &self.all
    }

    /// The kind of an object, by group and kind name.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<Kind>> {
        self.all.iter().find(|known| known.group == group && known.kind == kind).cloned()
    }

    /// A kind as people call it: `pods`, `pod`, `po`, `Pod`, `deployments.apps`, `apps/v1/deployments`.
    pub fn find(&self, word: &str) -> Option<Arc<Kind>> {
        let word = word.to_lowercase();
        if let Some(kind) = self.all.iter().find(|kind| kind.called(&word)) {
            return Some(kind.clone());
        }
        if let Some((name, group)) = word.split_once('.')
            && let Some(kind) = self.all.iter().find(|kind| kind.group == group && kind.called(name))
        {
            return Some(kind.clone());
        }
        if let Some((head, name)) = word.rsplit_once('/') {
            let (group, version) = head.rsplit_once('/').unwrap_or(("", head));
            let named = |kind: &&Arc<Kind>| kind.called(name) && ((kind.group == group && kind.version == version) || kind.group == head);
            if let Some(kind) = self.all.iter().find(named) {
                return Some(kind.clone());
            }
        }
        let alias = ALIASES.iter().find(|(short, _)| *short == word)?;
        self.all.iter().find(|kind| kind.plural == alias.1).cloned()
    }
}

fn group_rank(group: &str) -> u8 {
    match group {
        "" => 0,
        "apps" => 1,
        "batch" => 2,
        group if group.ends_with(".k8s.io") => 3,
        _ => 4,
    }
}

/// Kinds in an aggregated discovery answer (`APIGroupDiscoveryList`), the preferred version of each.
pub fn aggregated(answer: &Value) -> Vec<Kind> {
    let mut found: Vec<Kind> = Vec::new();
    for group in items(answer, "items") {
        let group_name = text(group, "/metadata/name");
        for version in items(group, "versions") {
            for resource in items(version, "resources") {
                let plural = text(resource, "/resource");
                if found.iter().any(|kind| kind.group == group_name && kind.plural == plural) {
                    continue;
                }
                let kind = text(resource, "/responseKind/kind");
                found.push(Kind {
                    group: group_name.clone(),
                    version: text(version, "/version"),
                    singular: non_empty(text(resource, "/singularResource"), || kind.to_lowercase()),
                    kind,
                    plural,
                    short_names: strings(resource, "shortNames"),
                    namespaced: text(resource, "/scope") == "Namespaced",
                    verbs: strings(resource, "verbs"),
                    subresources: items(resource, "subresources").iter().map(|sub| text(sub, "/subresource")).collect(),
                    categories: strings(resource, "categories"),
                });
            }
        }
    }
    found
}

/// Kinds in an `APIResourceList` of the plain discovery.
pub fn plain(answer: &Value) -> Vec<Kind> {
    let group_version = text(answer, "/groupVersion");
    let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
    let mut found: Vec<Kind> = Vec::new();
    for resource in items(answer, "resources") {
        let name = text(resource, "/name");
        if let Some((parent, sub)) = name.split_once('/') {
            if let Some(kind) = found.iter_mut().find(|kind| kind.plural == parent) {
                kind.subresources.push(sub.to_owned());
            }
            continue;
        }
        let kind = text(resource, "/kind");
        found.push(Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            singular: non_empty(text(resource, "/singularName"), || kind.to_lowercase()),
            kind,
            plural: name,
            short_names: strings(resource, "shortNames"),
            namespaced: resource.get("namespaced").and_then(Value::as_bool).unwrap_or_default(),
            verbs: strings(resource, "verbs"),
            subresources: Vec::new(),
            categories: strings(resource, "categories"),
        });
    }
    // subresources may come before their resource
    for resource in items(answer, "resources") {
        let name = text(resource, "/name");
        if let Some((parent, sub)) = name.split_once('/')
            && let Some(kind) = found.iter_mut().find(|kind| kind.plural == parent)
            && !kind.subresources.iter().any(|known| known == sub)
        {
            kind.subresources.push(sub.to_owned());
        }
    }
    found
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    items(value, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn non_empty(text: String, or: impl FnOnce() -> String) -> String {
    if text.is_empty() { or() } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_answer_to_all_their_names() {
        let kinds = Kinds::first();
        for word in
            ["deployments", "deployment", "deploy", "dp", "Deployment", "deployments.apps", "apps/v1/deployments", "apps/deployments"]
        {
            assert_eq!(kinds.find(word).map(|kind| kind.plural.clone()).as_deref(), Some("deployments"), "{word}");
        }
        assert!(kinds.find("nothing").is_none());
    }

    #[test]
    fn discovery_is_read_in_both_forms() {
        let aggregated = aggregated(&json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced", "singularResource": "deployment",
             "verbs": ["list", "watch"], "shortNames": ["deploy"], "subresources": [{"subresource": "scale"}]}]}]}]}));
        let plain = plain(&json!({"groupVersion": "apps/v1", "resources": [
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": ["get"]},
            {"name": "deployments", "singularName": "deployment", "kind": "Deployment", "namespaced": true, "verbs": ["list", "watch"], "shortNames": ["deploy"]}]}));
        assert_eq!(aggregated, plain);
        assert!(plain[0].is_scalable());
        assert_eq!(plain[0].path(Some("default")), "/apis/apps/v1/namespaces/default/deployments");
    }
}
