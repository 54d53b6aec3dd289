//! The roles and bindings of the cluster, decoded and indexed by subject, so that a decision looks at the caller's own
//! bindings only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coracle_api::identity::Identity;
use serde_json::Value;

use super::rule::Rule;
use crate::authz::Attributes;

/// Namespace (empty for the cluster's) and name.
type Name = (String, String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    fn parse(subject: &Value, namespace: &str) -> Option<Self> {
        let text = |field| subject.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("kind").as_str() {
            "User" => Some(Self::User(text("name"))),
            "Group" => Some(Self::Group(text("name"))),
            "ServiceAccount" => {
                let own = text("namespace");
                let namespace = if own.is_empty() { namespace.to_owned() } else { own };
                Some(Self::ServiceAccount { namespace, name: text("name") })
            }
            _ => None,
        }
    }

    /// What an identity is looked up by: `u` and the user, or `g` and the group.
    fn index(&self) -> String {
        match self {
            Self::User(name) => format!("u{name}"),
            Self::Group(name) => format!("g{name}"),
            Self::ServiceAccount { namespace, name } => format!("usystem:serviceaccount:{namespace}:{name}"),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::User(name) => format!("User {name:?}"),
            Self::Group(name) => format!("Group {name:?}"),
            Self::ServiceAccount { namespace, name } => format!("ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

struct Binding {
    name: Name,
    role_kind: String,
    role_name: String,
    subjects: Vec<Subject>,
}

/// Roles and bindings as they are now.
#[derive(Default)]
pub(super) struct Book {
    roles: HashMap<Name, Vec<Arc<Rule>>>,
    bindings: HashMap<Name, Arc<Binding>>,
    /// By namespace, then subject; the cluster's under the empty namespace. Derived from `bindings`.
    by_subject: HashMap<String, HashMap<String, BTreeMap<String, Arc<Binding>>>>,
}

/// What was found for one request.
pub(super) struct Finding {
    /// Why it is allowed; `None` if nothing allows it.
    pub(super) allowed: Option<String>,
    /// What could not be resolved on the way.
    pub(super) errors: Vec<String>,
}

/// Whether a resource of the RBAC group is a role, a binding, or neither.
enum Part {
    Role,
    Binding,
}

fn part(plural: &str) -> Option<Part> {
    match plural {
        "roles" | "clusterroles" => Some(Part::Role),
        "rolebindings" | "clusterrolebindings" => Some(Part::Binding),
        _ => None,
    }
}

impl Book {
    /// Takes in an object of the RBAC group.
    pub(super) fn put(&mut self, plural: &str, namespace: &str, name: &str, object: &Value) {
        let key = (namespace.to_owned(), name.to_owned());
        match part(plural) {
            Some(Part::Role) => {
                self.roles.insert(key, Rule::of_role(object).into_iter().map(Arc::new).collect());
            }
            Some(Part::Binding) => {
                self.unbind(&key);
                let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                let subjects = object.get("subjects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let binding = Arc::new(Binding {
                    role_kind: text("/roleRef/kind"),
                    role_name: text("/roleRef/name"),
                    subjects: subjects.iter().filter_map(|subject| Subject::parse(subject, namespace)).collect(),
                    name: key.clone(),
                });
                let by_subject = self.by_subject.entry(namespace.to_owned()).or_default();
                for subject in &binding.subjects {
                    by_subject.entry(subject.index()).or_default().insert(name.to_owned(), binding.clone());
                }
                self.bindings.insert(key, binding);
            }
            None => {}
        }
    }

    /// Forgets an object of the RBAC group.
    pub(super) fn remove(&mut self, plural: &str, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        match part(plural) {
            Some(Part::Role) => drop(self.roles.remove(&key)),
            Some(Part::Binding) => self.unbind(&key),
            None => {}
        }
    }

    fn unbind(&mut self, key: &Name) {
        let Some(binding) = self.bindings.remove(key) else { return };
        let Some(by_subject) = self.by_subject.get_mut(&key.0) else { return };
        for subject in binding.subjects.iter().map(Subject::index).collect::<BTreeSet<_>>() {
            if let Some(names) = by_subject.get_mut(&subject) {
                names.remove(&key.1);
                if names.is_empty() {
                    by_subject.remove(&subject);
                }
            }
        }
    }

    /// The rules of a role; a `Role` is looked for in `namespace`.
    pub(super) fn role(&self, kind: &str, namespace: &str, name: &str) -> Result<&[Arc<Rule>], String> {
        let (namespace, resource) = if kind == "ClusterRole" { (String::new(), "clusterrole") } else { (namespace.to_owned(), "role") };
        self.roles
            .get(&(namespace, name.to_owned()))
            .map(Vec::as_slice)
            .ok_or_else(|| format!("{resource}.rbac.authorization.k8s.io {name:?} not found"))
    }

    /// Calls `visit` with every rule that applies to the identity in the namespace, the cluster's bindings first, until it
    /// returns true; says which binding gave that rule.
    fn visit(&self, identity: &Identity, namespace: &str, mut visit: impl FnMut(&Arc<Rule>) -> bool) -> Finding {
        let mut errors = Vec::new();
        let subjects: Vec<String> =
            std::iter::once(format!("u{}", identity.user)).chain(identity.groups.iter().map(|group| format!("g{group}"))).collect();
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            let Some(by_subject) = self.by_subject.get(*scope) else { continue };
            for subject in &subjects {
                for binding in by_subject.get(subject).into_iter().flat_map(BTreeMap::values) {
                    match self.role(&binding.role_kind, scope, &binding.role_name) {
                        Ok(rules) => {
                            if rules.iter().any(&mut visit) {
                                return Finding { allowed: Some(binding.reason(subject)), errors };
                            }
                        }
                        Err(error) => errors.push(error),
                    }
                }
            }
        }
        Finding { allowed: None, errors }
    }

    /// Whether any rule allows the request.
    pub(super) fn find(&self, identity: &Identity, request: &Attributes<'_>) -> Finding {
        self.visit(identity, request.namespace, |rule| rule.allows(request))
    }

    /// Every rule that applies to the identity in the namespace, and what could not be resolved.
    pub(super) fn rules_for(&self, identity: &Identity, namespace: &str) -> (Vec<Arc<Rule>>, Vec<String>) {
        let mut rules = Vec::new();
        let finding = self.visit(identity, namespace, |rule| {
            rules.push(rule.clone());
            false
        });
        (rules, finding.errors)
    }
}

impl Binding {
    fn reason(&self, subject: &str) -> String {
        let who = self.subjects.iter().find(|own| own.index() == subject).map(Subject::describe).unwrap_or_default();
        let (namespace, name) = &self.name;
        let (kind, name) =
            if namespace.is_empty() { ("ClusterRoleBinding", name.clone()) } else { ("RoleBinding", format!("{name}/{namespace}")) };
        format!("RBAC: allowed by {kind} {name:?} of {} {:?} to {who}", self.role_kind, self.role_name)
    }
}
