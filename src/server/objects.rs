//! Decoded objects for the server's own decisions (who may, what is allowed, what to fill in), read through the store:
//! always what the store holds now, decoded at most once per revision.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_store::{Entry, ListOptions, Store};
use parking_lot::Mutex;
use serde_json::Value;

/// Where decisions read objects. An empty namespace is cluster scope; in `list`, all namespaces.
pub trait Lookup: Send + Sync + 'static {
    /// One object as it is now.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a resource.
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>>;
}

/// Most objects remembered decoded; they are few kinds: namespaces, service accounts, classes, limits.
const REMEMBERED: usize = 4_096;

/// The revision an object was decoded at, and the object.
type Decoded = (u64, Arc<Value>);

/// [`Lookup`] over the store.
pub struct Objects {
    store: Store,
    decoded: Mutex<HashMap<Arc<str>, Decoded>>,
}

/// The store's key of an object, or with an empty name the prefix of a list.
pub fn key(group: &str, plural: &str, namespace: &str, name: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    if namespace.is_empty() { format!("/{group}/{plural}/{name}") } else { format!("/{group}/{plural}/{namespace}/{name}") }
}

/// The object in an entry, without apiVersion and kind.
pub fn decode(entry: &Entry) -> Option<Value> {
    let mut text = Vec::with_capacity(entry.value.bytes.len() + 24);
    text.push(b'{');
    text.extend_from_slice(entry.value.head());
    text.extend_from_slice(entry.revision.to_string().as_bytes());
    text.extend_from_slice(entry.value.tail());
    serde_json::from_slice(&text).ok()
}

impl Objects {
    /// Reads through `store`.
    pub fn new(store: Store) -> Self {
        Self { store, decoded: Mutex::default() }
    }

    fn decoded(&self, entry: &Entry) -> Option<Arc<Value>> {
        if let Some((revision, value)) = self.decoded.lock().get(&entry.key)
            && *revision == entry.revision
        {
            return Some(value.clone());
        }
        let value = Arc::new(decode(entry)?);
        let mut decoded = self.decoded.lock();
        if decoded.len() >= REMEMBERED {
            decoded.clear();
        }
        decoded.insert(entry.key.clone(), (entry.revision, value.clone()));
        Some(value)
    }
}

impl Lookup for Objects {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.decoded(&*self.store.get(&key(group, plural, namespace, name))?)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Ok(list) = self.store.list(&key(group, plural, namespace, ""), &ListOptions::default()) else { return Vec::new() };
        list.entries.iter().filter_map(|entry| self.decoded(entry)).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A [`Lookup`] that tests fill.
    use super::*;

    /// Objects by key.
    #[derive(Default)]
    pub(crate) struct Fixture(pub(crate) Mutex<std::collections::BTreeMap<String, Arc<Value>>>);

    impl Fixture {
        /// A fixture with these objects: (group, plural, object).
        pub(crate) fn with(objects: &[(&str, &str, Value)]) -> Arc<Self> {
            let fixture = Self::default();
            for (group, plural, object) in objects {
                fixture.put(group, plural, object.clone());
            }
            Arc::new(fixture)
        }

        pub(crate) fn put(&self, group: &str, plural: &str, object: Value) {
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = key(group, plural, &text("/metadata/namespace"), &text("/metadata/name"));
            self.0.lock().insert(key, Arc::new(object));
        }

        pub(crate) fn remove(&self, group: &str, plural: &str, namespace: &str, name: &str) {
            self.0.lock().remove(&key(group, plural, namespace, name));
        }
    }

    impl Lookup for Fixture {
        fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            self.0.lock().get(&key(group, plural, namespace, name)).cloned()
        }

        fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
            let prefix = key(group, plural, namespace, "");
            self.0.lock().range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, value)| value.clone()).collect()
        }
    }
}
