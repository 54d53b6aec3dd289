//! Who owns whom: the graph of all objects by uid, and what each change in it makes necessary.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Finalizer of an object whose dependents go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents stay.
pub(crate) const ORPHAN: &str = "orphan";
/// Uids of owners that are known not to exist.
const ABSENT_KEPT: usize = 500;

/// Something to look at, by uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Todo {
    /// Is the object to be deleted, or free to go?
    Check(String),
    /// Let go of the dependents of an object that is being deleted.
    Orphan(String),
}

impl fmt::Display for Todo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(uid) => write!(f, "check of {uid}"),
            Self::Orphan(uid) => write!(f, "orphaning for {uid}"),
        }
    }
}

/// Group and kind, whatever the version.
pub(crate) type GroupKind = (String, String);

/// What the graph keeps of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub kind: GroupKind,
    pub namespace: String,
    pub name: String,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    /// Its dependents go first.
    pub foreground: bool,
    /// Its dependents stay.
    pub orphaning: bool,
}

impl Object {
    pub(crate) fn new(kind: GroupKind, meta: &ObjectMeta) -> Self {
        let deleting = meta.deletion_timestamp.is_some();
        let has = |finalizer: &str| meta.finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == finalizer));
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting,
            foreground: deleting && has(FOREGROUND),
            orphaning: deleting && has(ORPHAN),
        }
    }

    fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }
}

/// Canonical: `objects`. `dependents` is its inverse, and also knows owners that have not been seen.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    objects: HashMap<String, Object>,
    dependents: HashMap<String, HashSet<String>>,
    absent: HashSet<String>,
    absent_order: VecDeque<String>,
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    pub(crate) fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).map(|all| all.iter().cloned().collect()).unwrap_or_default()
    }

    /// Dependents that a deletion in the foreground waits for.
    pub(crate) fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| self.objects.get(dependent).is_some_and(|object| object.blocks(uid));
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    /// Whether one of its dependents waits for dependents of its own.
    pub(crate) fn has_waiting_dependent(&self, uid: &str) -> bool {
        self.dependents.get(uid).into_iter().flatten().any(|dependent| self.is_foreground(dependent))
    }

    pub(crate) fn uids_of(&self, kind: &GroupKind) -> Vec<String> {
        self.objects.iter().filter(|(_, object)| object.kind == *kind).map(|(uid, _)| uid.clone()).collect()
    }

    pub(crate) fn is_absent(&self, uid: &str) -> bool {
        self.absent.contains(uid)
    }

    /// An owner that was looked for and does not exist. A uid never comes back.
    pub(crate) fn note_absent(&mut self, uid: &str) {
        if self.absent.insert(uid.to_owned()) {
            self.absent_order.push_back(uid.to_owned());
            if self.absent_order.len() > ABSENT_KEPT
                && let Some(oldest) = self.absent_order.pop_front()
            {
                self.absent.remove(&oldest);
            }
        }
    }

    /// An object is new or changed.
    pub(crate) fn put(&mut self, uid: &str, object: Object) -> Vec<Todo> {
        let mut todo = Vec::new();
        let before = self.objects.remove(uid);
        let owned_before = before.as_ref().map(|before| before.owners.clone()).unwrap_or_default();
        for owner in &owned_before {
            let now = object.owners.iter().find(|reference| reference.uid == owner.uid);
            let unblocked = owner.block_owner_deletion == Some(true) && now.is_none_or(|now| now.block_owner_deletion != Some(true));
            if now.is_none() {
                self.unlink(&owner.uid, uid);
            }
            if unblocked && self.is_foreground(&owner.uid) {
                todo.push(Todo::Check(owner.uid.clone()));
            }
        }
        for owner in &object.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let uncertain = |owner: &OwnerReference| !self.objects.contains_key(&owner.uid) || self.is_foreground(&owner.uid);
        if before.is_none() || owned_before != object.owners {
            todo.extend(object.owners.iter().any(uncertain).then(|| Todo::Check(uid.to_owned())));
        }
        if object.orphaning && !before.as_ref().is_some_and(|before| before.orphaning) {
            todo.push(Todo::Orphan(uid.to_owned()));
        }
        if object.foreground {
            todo.push(Todo::Check(uid.to_owned()));
            if !before.is_some_and(|before| before.foreground) {
                todo.extend(self.dependents(uid).into_iter().map(Todo::Check));
            }
        }
        self.objects.insert(uid.to_owned(), object);
        todo
    }

    /// An object is gone.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<Todo> {
        let Some(object) = self.objects.remove(uid) else { return Vec::new() };
        let mut todo: Vec<Todo> = self.dependents(uid).into_iter().map(Todo::Check).collect();
        if !todo.is_empty() {
            self.note_absent(uid);
        }
        for owner in &object.owners {
            self.unlink(&owner.uid, uid);
            if self.is_foreground(&owner.uid) {
                todo.push(Todo::Check(owner.uid.clone()));
            }
        }
        todo
    }

    fn is_foreground(&self, uid: &str) -> bool {
        self.objects.get(uid).is_some_and(|object| object.foreground)
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(owners: &[(&str, bool)], finalizer: Option<&str>) -> Object {
        let owners: Vec<_> = owners
            .iter()
            .map(|(uid, block)| json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": block}))
            .collect();
        let deletion = finalizer.map(|_| "2024-01-01T00:00:00Z");
        let finalizers: Vec<_> = finalizer.into_iter().collect();
        let meta = serde_json::from_value(
            json!({"name": "o", "ownerReferences": owners, "deletionTimestamp": deletion, "finalizers": finalizers}),
        )
        .unwrap();
        Object::new((String::new(), "X".to_owned()), &meta)
    }

    fn check(uid: &str) -> Todo {
        Todo::Check(uid.to_owned())
    }

    #[test]
    fn an_unknown_owner_is_checked_and_a_known_one_is_not() {
        let mut graph = Graph::default();
        assert_eq!(graph.put("pod", object(&[("set", true)], None)), [check("pod")]);
        assert_eq!(graph.put("set", object(&[], None)), []);
        assert_eq!(graph.put("pod2", object(&[("set", true)], None)), []);
        let mut todo = graph.remove("set");
        todo.sort();
        assert_eq!(todo, [check("pod"), check("pod2")]);
        assert!(graph.is_absent("set"));
    }

    #[test]
    fn foreground_waits_for_blocking_dependents() {
        let mut graph = Graph::default();
        graph.put("set", object(&[], None));
        graph.put("a", object(&[("set", true)], None));
        graph.put("b", object(&[("set", false)], None));
        let mut todo = graph.put("set", object(&[], Some(FOREGROUND)));
        todo.sort();
        assert_eq!(todo, [check("a"), check("b"), check("set")]);
        assert_eq!(graph.blocking("set"), ["a"]);
        assert_eq!(graph.put("a", object(&[("set", false)], None)), [check("set"), check("a")]);
        assert_eq!(graph.remove("b"), [check("set")]);
        assert!(graph.blocking("set").is_empty());
    }

    #[test]
    fn orphaning_starts_once() {
        let mut graph = Graph::default();
        assert_eq!(graph.put("set", object(&[], Some(ORPHAN))), [Todo::Orphan("set".into())]);
        assert_eq!(graph.put("set", object(&[], Some(ORPHAN))), []);
    }

    proptest! {
        /// Whatever happens, the inverse agrees with the objects.
        #[test]
        fn dependents_are_the_inverse_of_owners(steps in prop::collection::vec((0..6u8, prop::collection::btree_set(0..6u8, 0..3), any::<bool>()), 0..50)) {
            let mut graph = Graph::default();
            for (who, owners, there) in steps {
                let uid = who.to_string();
                if there {
                    let owners: Vec<String> = owners.iter().map(u8::to_string).collect();
                    let owners: Vec<(&str, bool)> = owners.iter().map(|owner| (owner.as_str(), true)).collect();
                    graph.put(&uid, object(&owners, None));
                } else {
                    graph.remove(&uid);
                }
            }
            for who in 0..6u8 {
                let mut listed = graph.dependents(&who.to_string());
                listed.sort();
                let owned = |object: &Object| object.owners.iter().any(|owner| owner.uid == who.to_string());
                let mut expected: Vec<String> = graph.objects.iter().filter(|(_, object)| owned(object)).map(|(uid, _)| uid.clone()).collect();
                expected.sort();
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
