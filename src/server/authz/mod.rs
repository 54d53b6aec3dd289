//! Who may do what: upstream's RBAC over the roles and bindings in the store, for callers on the network and in the
//! process alike. Members of `system:masters` may do everything; node agents may what upstream's node authorizer lets a
//! kubelet do.

mod book;
mod escalation;
mod node;
pub mod rule;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coracle_api::identity::Identity;
use coracle_api::status::Status;
use coracle_store::{Event, EventKind, ListOptions, ReadError, Store, Watch};
use futures::FutureExt;
use parking_lot::{Mutex, RwLock};

use self::book::Book;
use self::rule::Rule;
use crate::objects::{self, Objects};
pub use crate::request::Attributes;

/// Everything of the RBAC group in the store.
const PREFIX: &str = "/rbac.authorization.k8s.io/";

/// An answer to "may they?".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, in upstream's words; may be empty.
    pub reason: String,
    /// Roles that could not be found on the way.
    pub error: String,
}

/// Decides by the roles and bindings in the store; a write to them counts from the moment it is acknowledged.
pub struct Authorizer {
    store: Store,
    book: RwLock<Book>,
    /// Changes not yet in `book`.
    changes: Mutex<Watch>,
    /// The store's revision when changes were last looked for.
    seen: AtomicU64,
    node_rules: Vec<Arc<Rule>>,
    /// What nodes' pods refer to.
    objects: Objects,
}

impl Authorizer {
    /// Reads the roles and bindings that `store` has.
    ///
    /// # Errors
    /// The store has no such history (it does, right after it was opened).
    pub fn new(store: Store) -> Result<Self, ReadError> {
        let (book, changes) = load(&store)?;
        let node_rules = crate::bootstrap::node_rules().into_iter().map(Arc::new).collect();
        let objects = Objects::new(store.clone());
        Ok(Self { objects, store, book: RwLock::new(book), changes: Mutex::new(changes), seen: AtomicU64::new(0), node_rules })
    }

    /// Whether a caller in this process may: its node agents are not narrowed to what their pods refer to.
    pub(crate) fn trusts(&self, identity: &Identity, request: &Attributes<'_>) -> bool {
        is_node(identity) && self.node_rules.iter().any(|rule| rule.allows(request))
    }

    /// Lets the request pass or gives the answer that refuses it.
    ///
    /// # Errors
    /// 403 with upstream's message.
    pub fn authorize(&self, identity: &Identity, request: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.decide(identity, request);
        if decision.allowed { Ok(()) } else { Err(forbidden(identity, request, &decision.reason)) }
    }

    /// The decision with its reason.
    pub fn decide(&self, identity: &Identity, request: &Attributes<'_>) -> Decision {
        if is_master(identity) {
            return Decision { allowed: true, ..Decision::default() };
        }
        let mut why = String::new();
        if let Some(node) = node_name(identity) {
            match node::decide(&self.objects, node, &self.node_rules, request) {
                Ok(()) => return Decision { allowed: true, ..Decision::default() },
                Err(refusal) => why = refusal,
            }
        }
        self.catch_up();
        let finding = self.book.read().find(identity, request);
        match finding.allowed {
            Some(reason) => Decision { allowed: true, reason, error: String::new() },
            None if finding.errors.is_empty() => Decision { reason: why, ..Decision::default() },
            None => {
                let error = aggregate(&finding.errors);
                Decision { allowed: false, reason: format!("RBAC: {error}"), error }
            }
        }
    }

    /// Every rule that applies to the identity in a namespace, and what could not be resolved (empty if all was).
    pub fn rules_for(&self, identity: &Identity, namespace: &str) -> (Vec<Arc<Rule>>, String) {
        self.catch_up();
        let (mut rules, errors) = self.book.read().rules_for(identity, namespace);
        if is_node(identity) {
            rules.extend(self.node_rules.iter().cloned());
        }
        if is_master(identity) {
            let all = || vec!["*".to_owned()];
            let everything = Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() };
            let everywhere = Rule { verbs: all(), urls: all(), ..Rule::default() };
            // the binding of the role `cluster-admin` says the same, as long as nobody removes it
            for rule in [everywhere, everything].into_iter().filter(|rule| !rules.iter().any(|known| **known == *rule)).collect::<Vec<_>>()
            {
                rules.insert(0, Arc::new(rule));
            }
        }
        (rules, aggregate(&errors))
    }

    /// The rules of a role that a binding in `namespace` refers to.
    fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Result<Vec<Rule>, String> {
        self.catch_up();
        self.book.read().role(kind, namespace, name).map(|rules| rules.iter().map(|rule| Rule::clone(rule)).collect())
    }

    /// Brings the book up to the present; nothing but an atomic load when nothing was written.
    fn catch_up(&self) {
        let revision = self.store.revision();
        if self.seen.load(Ordering::Acquire) == revision {
            return;
        }
        let mut changes = self.changes.lock();
        loop {
            match changes.next().now_or_never() {
                Some(Some(event)) => apply(&mut self.book.write(), &event),
                Some(None) => match load(&self.store) {
                    Ok((book, watch)) => {
                        *self.book.write() = book;
                        *changes = watch;
                    }
                    Err(error) => {
                        tracing::error!(%error, "roles and bindings cannot be read again");
                        return;
                    }
                },
                None => break,
            }
        }
        self.seen.store(revision, Ordering::Release);
    }
}

fn load(store: &Store) -> Result<(Book, Watch), ReadError> {
    let list = store.list(PREFIX, &ListOptions::default())?;
    let mut book = Book::default();
    for entry in &list.entries {
        if let (Some((plural, namespace, name)), Some(object)) = (parts(&entry.key), objects::decode(entry)) {
            book.put(plural, namespace, name, &object);
        }
    }
    Ok((book, store.watch(PREFIX, list.revision)?))
}

fn apply(book: &mut Book, event: &Event) {
    let Some((plural, namespace, name)) = parts(&event.entry.key) else { return };
    match event.kind {
        EventKind::Delete => book.remove(plural, namespace, name),
        EventKind::Put => {
            if let Some(object) = objects::decode(&event.entry) {
                book.put(plural, namespace, name, &object);
            }
        }
    }
}

/// Resource, namespace and name of a key.
fn parts(key: &str) -> Option<(&str, &str, &str)> {
    let mut parts = key.strip_prefix(PREFIX)?.split('/');
    match (parts.next()?, parts.next()?, parts.next()) {
        (plural, namespace, Some(name)) => Some((plural, namespace, name)),
        (plural, name, None) => Some((plural, "", name)),
    }
}

/// As upstream prints several errors at once: alone, or in brackets.
fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Whether the identity may do everything.
pub fn is_master(identity: &Identity) -> bool {
    identity.groups.iter().any(|group| group == "system:masters")
}

fn is_node(identity: &Identity) -> bool {
    node_name(identity).is_some()
}

/// The node that an identity is.
fn node_name(identity: &Identity) -> Option<&str> {
    identity.user.strip_prefix("system:node:").filter(|_| identity.groups.iter().any(|group| group == "system:nodes"))
}

/// The refusal in upstream's words.
pub fn forbidden(identity: &Identity, request: &Attributes<'_>, reason: &str) -> Status {
    let Attributes { verb, group, resource, subresource, namespace, name, path, .. } = *request;
    let user = &identity.user;
    let mut message = if !request.is_resource() {
        format!("User {user:?} cannot {verb} path {path:?}")
    } else {
        let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let scope = if namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {namespace:?}") };
        format!("User {user:?} cannot {verb} resource {full:?} in API group {group:?} {scope}")
    };
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    Status::forbidden(group, resource, name, &message)
}

#[cfg(test)]
mod tests;
