//! A cache of all objects of one kind, fed by one list and watch, read by every actor.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::Resource;
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

use crate::compact::compact;
use crate::informers::Watchable;
use crate::revision::revision_of;

/// How many changes a reader may be behind before it is told to look at everything ([`Change::Resync`], or
/// `RecvError::Lagged`, which means the same).
const BACKLOG: usize = 2048;

/// What happened to the cache. The cache shows it already when it is announced.
#[derive(Debug)]
pub enum Change<K> {
    /// A new object.
    Added(Arc<K>),
    /// An object replaced by a newer version of it, or by a new object of the same name (compare the uids).
    Updated {
        /// Before.
        old: Arc<K>,
        /// After.
        new: Arc<K>,
    },
    /// An object is gone; this is its last state.
    Deleted(Arc<K>),
    /// The cache was listed anew (the first time, too): look at everything.
    Resync,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
            Self::Resync => Self::Resync,
        }
    }
}

type IndexKeys<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;
type Objects<K> = BTreeMap<String, BTreeMap<String, Arc<K>>>;

struct IndexData<K> {
    name: &'static str,
    keys: IndexKeys<K>,
    /// Index key → (namespace, name) → object; agrees with `Cache::objects` under the same lock.
    entries: HashMap<String, BTreeMap<(String, String), Arc<K>>>,
}

impl<K: Watchable> IndexData<K> {
    /// Puts a newer version of an object, or a new one of its name, in its place.
    fn replace(&mut self, old: &K, new: &Arc<K>) {
        let keys = (self.keys)(new);
        if keys != (self.keys)(old) {
            self.remove(old);
            return self.insert(new);
        }
        let name = name_of(new.as_ref());
        for key in keys {
            if let Some(object) = self.entries.get_mut(&key).and_then(|entry| entry.get_mut(&name)) {
                *object = new.clone();
            }
        }
    }

    fn insert(&mut self, object: &Arc<K>) {
        for key in (self.keys)(object) {
            self.entries.entry(key).or_default().insert(name_of(object.as_ref()), object.clone());
        }
    }

    fn remove(&mut self, object: &K) {
        let name = name_of(object);
        for key in (self.keys)(object) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.remove(&name);
                if entry.is_empty() {
                    self.entries.remove(&key);
                }
            }
        }
    }
}

struct Cache<K> {
    /// Canonical: namespace (empty without one) → name → object.
    objects: Objects<K>,
    count: usize,
    indexes: Vec<IndexData<K>>,
}

struct Shared<K> {
    cache: RwLock<Cache<K>>,
    changes: broadcast::Sender<Change<K>>,
    /// The newest revision the cache has seen; `None` before the first list is complete.
    revision: watch::Sender<Option<u64>>,
}

/// A shared, always current cache of the objects of one kind. Clones are one cache.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Objects of an informer by a key computed from them.
pub struct Index<K> {
    informer: Informer<K>,
    at: usize,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { informer: self.informer.clone(), at: self.at }
    }
}

impl<K: Watchable> Index<K> {
    /// The objects with this key, ordered by namespace and name.
    pub fn get(&self, key: &str) -> Vec<Arc<K>> {
        let cache = self.informer.0.cache.read();
        cache.indexes[self.at].entries.get(key).map(|entry| entry.values().cloned().collect()).unwrap_or_default()
    }

    /// How many objects have this key.
    pub fn count(&self, key: &str) -> usize {
        self.informer.0.cache.read().indexes[self.at].entries.get(key).map_or(0, BTreeMap::len)
    }
}

fn name_of<K: Resource>(object: &K) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl<K: Watchable> Informer<K> {
    pub(crate) fn empty() -> Self {
        let cache = Cache { objects: BTreeMap::new(), count: 0, indexes: Vec::new() };
        Self(Arc::new(Shared { cache: RwLock::new(cache), changes: broadcast::Sender::new(BACKLOG), revision: watch::Sender::new(None) }))
    }

    /// An informer that watches nothing and holds `objects`: for tests of what reads informers.
    pub fn of_objects(objects: Vec<K>) -> Self {
        let informer = Self::empty();
        let revision = objects.iter().map(revision_of).max().unwrap_or(0);
        informer.replace(objects, revision);
        informer
    }

    /// The object of this name; `namespace` is empty for kinds without one.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.0.cache.read().objects.get(namespace)?.get(name).cloned()
    }

    /// Every object, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        let cache = self.0.cache.read();
        let mut all = Vec::with_capacity(cache.count);
        all.extend(cache.objects.values().flat_map(BTreeMap::values).cloned());
        all
    }

    /// The objects of a namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.cache.read().objects.get(namespace).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.cache.read().count
    }

    /// There are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        self.reached(0).await;
    }

    /// The first list is complete.
    pub fn is_synced(&self) -> bool {
        self.0.revision.borrow().is_some()
    }

    /// The newest revision the cache has seen: a write answered with a `resourceVersion` of at most this is visible in it.
    pub fn revision(&self) -> u64 {
        self.0.revision.borrow().unwrap_or(0)
    }

    /// Changes that the slowest reader has not taken yet.
    pub(crate) fn unread(&self) -> usize {
        self.0.changes.len()
    }

    /// Waits until the cache has seen `revision` of this kind, as a write of an object of this kind was answered with.
    pub async fn reached(&self, revision: u64) {
        let mut seen = self.0.revision.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= revision)).await;
    }

    /// Changes from now on. Subscribe first, then list: what you list may be announced again, but nothing is missed.
    /// A reader that falls behind gets `RecvError::Lagged` and must look at everything, as for [`Change::Resync`].
    pub fn changes(&self) -> broadcast::Receiver<Change<K>> {
        self.0.changes.subscribe()
    }

    /// Keeps an index of the objects by the keys that `keys` computes. The index of a name is made once and shared.
    pub fn index(&self, name: &'static str, keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        let mut cache = self.0.cache.write();
        if let Some(at) = cache.indexes.iter().position(|index| index.name == name) {
            return Index { informer: self.clone(), at };
        }
        let mut index = IndexData { name, keys: Box::new(keys), entries: HashMap::new() };
        cache.objects.values().flat_map(BTreeMap::values).for_each(|object| index.insert(object));
        cache.indexes.push(index);
        Index { informer: self.clone(), at: cache.indexes.len() - 1 }
    }

    /// Puts an object into the cache as a watch event does, and announces it.
    pub fn put(&self, mut object: K) {
        strip(&mut object);
        let revision = revision_of(&object);
        let new = Arc::new(object);
        let (namespace, name) = name_of(new.as_ref());
        let old = {
            let mut guard = self.0.cache.write();
            let cache = &mut *guard;
            let old = cache.objects.entry(namespace).or_default().insert(name, new.clone());
            for index in &mut cache.indexes {
                match &old {
                    Some(old) => index.replace(old, &new),
                    None => index.insert(&new),
                }
            }
            cache.count += usize::from(old.is_none());
            old
        };
        self.advance(revision);
        let _ = self.0.changes.send(match old {
            Some(old) => Change::Updated { old, new },
            None => Change::Added(new),
        });
    }

    /// Takes an object out of the cache as a watch event does, and announces it.
    pub fn remove(&self, mut object: K) {
        strip(&mut object);
        let revision = revision_of(&object);
        let (namespace, name) = name_of(&object);
        let known = {
            let mut guard = self.0.cache.write();
            let cache = &mut *guard;
            let Some(objects) = cache.objects.get_mut(&namespace) else { return self.advance(revision) };
            let known = objects.remove(&name);
            if objects.is_empty() {
                cache.objects.remove(&namespace);
            }
            if let Some(known) = &known {
                cache.count -= 1;
                cache.indexes.iter_mut().for_each(|index| index.remove(known));
            }
            known
        };
        self.advance(revision);
        if known.is_some() {
            let _ = self.0.changes.send(Change::Deleted(Arc::new(object)));
        }
    }

    /// Replaces everything by a list read at `revision`, and announces [`Change::Resync`].
    pub(crate) fn replace(&self, objects: Vec<K>, revision: u64) {
        let mut fresh: Objects<K> = BTreeMap::new();
        let count = objects.len();
        for mut object in objects {
            strip(&mut object);
            let (namespace, name) = name_of(&object);
            fresh.entry(namespace).or_default().insert(name, Arc::new(object));
        }
        {
            let mut guard = self.0.cache.write();
            let cache = &mut *guard;
            cache.objects = fresh;
            cache.count = count;
            for index in &mut cache.indexes {
                index.entries.clear();
                cache.objects.values().flat_map(BTreeMap::values).for_each(|object| index.insert(object));
            }
        }
        self.0.revision.send_modify(|seen| *seen = Some(revision));
        let _ = self.0.changes.send(Change::Resync);
    }

    pub(crate) fn advance(&self, revision: u64) {
        self.0.revision.send_if_modified(|seen| {
            let newer = seen.is_some_and(|seen| revision > seen);
            if newer {
                *seen = Some(revision);
            }
            newer
        });
    }
}

/// Bookkeeping of server-side apply is a third of an object's memory, and no actor reads it. Decoding leaves room for
/// more in every list, which thousands of pods pay for.
fn strip<K: Watchable>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(pod) = (object as &mut dyn Any).downcast_mut() {
        compact(pod);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn map(namespace: &str, name: &str, revision: u64, team: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name, "resourceVersion": revision.to_string(),
            "labels": {"team": team}, "managedFields": [{"manager": "m", "operation": "Update"}]}}))
        .unwrap()
    }

    fn names(objects: &[Arc<ConfigMap>]) -> Vec<&str> {
        objects.iter().map(|object| object.metadata.name.as_deref().unwrap()).collect()
    }

    #[tokio::test]
    async fn changes_are_visible_when_announced() {
        let informer = Informer::of_objects(vec![map("a", "x", 3, "red")]);
        let mut changes = informer.changes();
        informer.put(map("a", "y", 4, "red"));
        informer.put(map("a", "y", 5, "blue"));
        informer.remove(map("a", "y", 6, "blue"));
        informer.remove(map("a", "unknown", 7, "blue"));
        assert!(matches!(changes.try_recv(), Ok(Change::Added(object)) if object.metadata.managed_fields.is_none()));
        assert!(
            matches!(changes.try_recv(), Ok(Change::Updated { old, new }) if revision_of(old.as_ref()) == 4 && revision_of(new.as_ref()) == 5)
        );
        assert!(matches!(changes.try_recv(), Ok(Change::Deleted(object)) if revision_of(object.as_ref()) == 6));
        assert!(changes.try_recv().is_err());
        assert_eq!(informer.revision(), 7);
        assert_eq!((informer.len(), names(&informer.list_in("a"))), (1, vec!["x"]));
        informer.reached(7).await;
    }

    #[test]
    fn an_index_follows_every_change() {
        let informer = Informer::of_objects(vec![map("a", "x", 1, "red")]);
        let team = |object: &ConfigMap| object.metadata.labels.iter().flatten().map(|(_, team)| team.clone()).collect();
        let index = informer.index("team", team);
        informer.put(map("b", "y", 2, "red"));
        assert_eq!(names(&index.get("red")), ["x", "y"]);
        informer.put(map("b", "y", 3, "red"));
        assert_eq!(index.get("red").iter().map(|object| revision_of(object.as_ref())).collect::<Vec<_>>(), [1, 3]);
        informer.put(map("a", "x", 4, "blue"));
        assert_eq!((names(&index.get("red")), names(&index.get("blue"))), (vec!["y"], vec!["x"]));
        informer.remove(map("b", "y", 4, "stale label"));
        assert_eq!(index.count("red"), 0);
        informer.replace(vec![map("c", "z", 5, "red")], 9);
        assert_eq!((names(&index.get("red")), index.count("blue"), informer.revision()), (vec!["z"], 0, 9));
    }
}
