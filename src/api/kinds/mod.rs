//! The kinds the API serves: one row each, with its names, verbs and subresources as discovery shows them.

mod builtin;
mod convert;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use convert::{convert, stored_field};

use crate::custom::Custom;
use crate::schema::{self, Type};

/// A name that is static for built-in kinds and owned for custom resources.
pub type Text = Cow<'static, str>;

/// One resource in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: Text,
    /// Version within the group.
    pub version: Text,
    /// Kind of one object, `Pod`.
    pub kind: Text,
    /// Kind of a list, `PodList`.
    pub list_kind: Text,
    /// Name in paths, `pods`.
    pub plural: Text,
    /// Singular name, `pod`.
    pub singular: Text,
    /// Names for the command line, `po`.
    pub short_names: Vec<Text>,
    /// Groups of resources, `all`.
    pub categories: Vec<Text>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What discovery says can be done, sorted.
    pub verbs: Vec<Text>,
    /// Subresources sorted by name.
    pub subresources: Vec<Subresource>,
    /// Full name of the type in `schema`, `io.k8s.api.core.v1.Pod`.
    pub schema: Text,
    /// Whether objects are kept; reviews and bindings are only answered.
    pub stored: bool,
    /// Group and version the object is stored in; another than this one's where a resource is served twice.
    pub storage: (Text, Text),
    /// What a custom resource's kind has beyond its row.
    pub custom: Option<Arc<Custom>>,
}

/// A part of a resource with a path and verbs of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Last part of the path, `status`.
    pub name: Text,
    /// Group of the subresource's own kind; equal to the parent's unless it has another.
    pub group: Text,
    /// Version of the subresource's own kind.
    pub version: Text,
    /// Kind of the body, `Scale`.
    pub kind: Text,
    /// Full type name of the body; empty where there is none (logs, streams).
    pub schema: Text,
    /// What discovery says can be done, sorted.
    pub verbs: Vec<Text>,
}

/// A row of the registry: one of the built-in ones, or a custom resource's, which goes when nobody uses it any more.
#[derive(Debug, Clone)]
pub enum KindRef {
    /// Built in.
    Builtin(&'static Kind),
    /// Made from a CustomResourceDefinition.
    Custom(Arc<Kind>),
}

impl std::ops::Deref for KindRef {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        match self {
            Self::Builtin(kind) => kind,
            Self::Custom(kind) => kind,
        }
    }
}

impl From<&'static Kind> for KindRef {
    fn from(kind: &'static Kind) -> Self {
        Self::Builtin(kind)
    }
}

impl From<Arc<Kind>> for KindRef {
    fn from(kind: Arc<Kind>) -> Self {
        Self::Custom(kind)
    }
}

impl Kind {
    /// `group/version`, or `version` in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `plural.group`, or `plural` in the core group, as messages name a resource.
    pub fn qualified(&self) -> String {
        crate::status::qualified(&self.group, &self.plural)
    }

    /// The type of its objects.
    pub fn ty(&self) -> Arc<Type> {
        self.custom.as_ref().map_or_else(|| schema::of(&self.schema), |custom| custom.ty())
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether discovery lists the verb for the resource itself.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// Whether this row is the version the object is stored in.
    pub fn is_storage_version(&self) -> bool {
        self.group == self.storage.0 && self.version == self.storage.1
    }

    /// The row of the version the object is stored in, for built-in kinds; itself where it is stored as served.
    pub fn storage_kind(&self) -> &Kind {
        if self.is_storage_version() {
            return self;
        }
        by_kind(&self.storage.0, &self.storage.1, &self.kind).unwrap_or(self)
    }
}

/// `group/version`, or `version` in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits an `apiVersion` into group and version; the group of `v1` is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

struct Registry {
    kinds: Vec<Kind>,
    by_plural: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), usize>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let kinds = builtin::kinds();
    let mut by_plural = HashMap::new();
    let mut by_kind = HashMap::new();
    for (index, kind) in kinds.iter().enumerate() {
        if let (Cow::Borrowed(group), Cow::Borrowed(version), Cow::Borrowed(plural), Cow::Borrowed(name)) =
            (&kind.group, &kind.version, &kind.plural, &kind.kind)
        {
            by_plural.insert((*group, *version, *plural), index);
            by_kind.insert((*group, *version, *name), index);
        }
    }
    Registry { kinds, by_plural, by_kind }
});

/// Every built-in resource, grouped by API group in discovery's order, the preferred version of a group first.
pub fn builtin() -> &'static [Kind] {
    &REGISTRY.kinds
}

/// The built-in resource of this path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    REGISTRY.by_plural.get(&(group, version, plural)).map(|&index| &REGISTRY.kinds[index])
}

/// The built-in resource of this kind in exactly this version.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    REGISTRY.by_kind.get(&(group, version, kind)).map(|&index| &REGISTRY.kinds[index])
}

/// The built-in resource of this kind in the group's preferred version.
pub fn by_group_kind(group: &str, kind: &str) -> Option<&'static Kind> {
    builtin().iter().find(|row| row.group == group && row.kind == kind)
}

/// The built-in resource of this `apiVersion` and `kind`, as objects carry them.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = split_api_version(api_version);
    by_kind(group, version, kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_row_is_found_by_path_and_by_kind() {
        for kind in builtin() {
            assert_eq!(find(&kind.group, &kind.version, &kind.plural), Some(kind));
            assert_eq!(by_kind(&kind.group, &kind.version, &kind.kind), Some(kind));
            assert!(kind.verbs.is_sorted(), "{}", kind.plural);
            assert!(kind.subresources.is_sorted_by_key(|sub| sub.name.clone()), "{}", kind.plural);
            assert!(kind.storage_kind().is_storage_version(), "{}", kind.plural);
        }
    }

    #[test]
    fn preferred_versions_come_first() {
        assert_eq!(by_group_kind("autoscaling", "HorizontalPodAutoscaler").unwrap().version, "v2");
        assert_eq!(find("autoscaling", "v1", "horizontalpodautoscalers").unwrap().storage_kind().version, "v2");
        assert_eq!(find("events.k8s.io", "v1", "events").unwrap().storage_kind().group, "");
    }

    #[test]
    fn subresources_name_their_own_kinds() {
        let deployment = by_api_version("apps/v1", "Deployment").unwrap();
        let scale = deployment.subresource("scale").unwrap();
        assert_eq!((&*scale.group, &*scale.version, &*scale.kind), ("autoscaling", "v1", "Scale"));
        let pod = find("", "v1", "pods").unwrap();
        let names: Vec<&str> = pod.subresources.iter().map(|sub| &*sub.name).collect();
        assert_eq!(
            names,
            ["attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status"]
        );
        assert_eq!(pod.subresource("eviction").unwrap().group, "policy");
        assert_eq!(pod.subresource("exec").unwrap().verbs, ["create", "get"]);
    }
}
