//! Custom resources: the kinds that definitions make, and the way of their objects between the store and a version.
//!
//! Everything else in this room sees objects in the version of the request. [`Customs::present`] brings entries there when
//! they are read (another stored version, defaults that came later), [`Customs::encode`] brings objects into the stored
//! version when they are written. Entries that are in the right form already are handed on as they are.

mod controller;
mod convert;

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::custom::{self, Custom};
use coracle_api::kinds::{Kind, KindRef};
use coracle_api::status::Status;
use coracle_store::{Entry, Event, ListOptions, Store, Value as Stored, Watch};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::codec;
use crate::objects::{Lookup, Objects, decode, key};
use crate::webhook::WebhookClient;

pub(crate) use controller::start;

/// The kinds of a definition, as it was at a revision.
struct Compiled {
    revision: u64,
    /// Which definition, and which desired state of it.
    identity: (Value, Value),
    since: u64,
    kinds: Vec<Arc<Kind>>,
}

/// The custom kinds there are now.
pub(crate) struct Customs {
    store: Store,
    lookup: Arc<Objects>,
    webhooks: WebhookClient,
    compiled: Mutex<HashMap<Arc<str>, Compiled>>,
}

impl Customs {
    pub(crate) fn new(store: Store, lookup: Arc<Objects>, webhooks: WebhookClient) -> Self {
        Self { store, lookup, webhooks, compiled: Mutex::default() }
    }

    fn kinds(&self, entry: &Entry) -> Vec<Arc<Kind>> {
        let mut compiled = self.compiled.lock();
        let known = compiled.get(&entry.key);
        if let Some(known) = known.filter(|known| known.revision == entry.revision) {
            return known.kinds.clone();
        }
        let Some(definition) = decode(entry) else { return Vec::new() };
        let metadata = &definition["metadata"];
        let identity = (metadata["uid"].clone(), metadata["generation"].clone());
        // A new status leaves the schema as it was.
        let since = known.filter(|known| known.identity == identity).map_or(entry.revision, |known| known.since);
        let kinds = custom::kinds_of(&definition, since);
        compiled.insert(entry.key.clone(), Compiled { revision: entry.revision, identity, since, kinds: kinds.clone() });
        kinds
    }

    /// The custom kind of this path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<KindRef> {
        let entry = self.store.get(&key(custom::GROUP, custom::PLURAL, "", &format!("{plural}.{group}")))?;
        self.kinds(&entry).into_iter().find(|kind| kind.version == version).map(KindRef::from)
    }

    /// What happens from now on to the definition of a custom kind.
    pub(crate) fn watch(&self, kind: &Kind) -> Option<Watch> {
        kind.custom.as_ref()?;
        let key = key(custom::GROUP, custom::PLURAL, "", &format!("{}.{}", kind.plural, kind.group));
        self.store.watch(&key, self.store.revision()).ok()
    }

    /// All custom kinds, by definition.
    pub(crate) fn all(&self) -> Vec<Arc<Kind>> {
        let prefix = key(custom::GROUP, custom::PLURAL, "", "");
        let Ok(list) = self.store.list(&prefix, &ListOptions::default()) else { return Vec::new() };
        if list.entries.len() < self.compiled.lock().len() {
            let there: std::collections::HashSet<&str> = list.entries.iter().map(|entry| &*entry.key).collect();
            self.compiled.lock().retain(|key, _| there.contains(&**key));
        }
        list.entries.iter().flat_map(|entry| self.kinds(entry)).collect()
    }

    /// The other versions a custom kind is served in.
    pub(crate) fn others(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        if kind.custom.is_none() {
            return Vec::new();
        }
        let entry = self.store.get(&key(custom::GROUP, custom::PLURAL, "", &format!("{}.{}", kind.plural, kind.group)));
        let all = entry.map(|entry| self.kinds(&entry)).unwrap_or_default();
        all.into_iter().filter(|other| other.version != kind.version).collect()
    }

    /// The custom kind that objects name so.
    pub(crate) fn named(&self, api_version: &str, name: &str) -> Option<Arc<Kind>> {
        self.all().into_iter().find(|kind| kind.kind == name && kind.api_version() == api_version)
    }

    /// An object of a custom kind in another of its versions.
    pub(crate) async fn in_version(&self, kind: &Kind, object: &Value) -> Result<Value, Status> {
        let Some(custom) = &kind.custom else { return Ok(object.clone()) };
        let converted = self.convert(custom, vec![object.clone()], &kind.api_version()).await?.pop();
        Ok(converted.unwrap_or_default())
    }

    /// Entries in the version of `kind`, with the defaults of its schema.
    pub(crate) async fn present(&self, kind: &Kind, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
        let Some(custom) = &kind.custom else { return Ok(entries) };
        let places: Vec<usize> = (0..entries.len()).filter(|at| !is_settled(kind, custom, &entries[*at])).collect();
        if places.is_empty() {
            return Ok(entries);
        }
        let objects = places.iter().map(|at| decode(&entries[*at]).ok_or_else(|| Status::internal("a stored object cannot be read")));
        let objects = objects.collect::<Result<Vec<Value>, Status>>()?;
        let objects = self.convert(custom, objects, &kind.api_version()).await?;
        for (at, mut object) in places.into_iter().zip(objects) {
            custom.settle(&mut object);
            let old = &entries[at];
            let value = codec::encode_whole(&object)?;
            entries[at] = Arc::new(Entry { key: old.key.clone(), revision: old.revision, value });
        }
        Ok(entries)
    }

    /// One entry.
    pub(crate) async fn present_one(&self, kind: &Kind, entry: Arc<Entry>) -> Result<Arc<Entry>, Status> {
        if kind.custom.is_none() {
            return Ok(entry);
        }
        self.present(kind, vec![entry.clone()]).await.map(|mut entries| entries.pop().unwrap_or(entry))
    }

    /// An event.
    pub(crate) async fn present_event(&self, kind: &Kind, event: Arc<Event>) -> Result<Arc<Event>, Status> {
        if kind.custom.is_none() {
            return Ok(event);
        }
        let entry = self.present_one(kind, event.entry.clone()).await?;
        let previous = match &event.previous {
            Some(previous) => Some(self.present_one(kind, previous.clone()).await?),
            None => None,
        };
        let same = |one: &Option<Arc<Entry>>, other: &Option<Arc<Entry>>| one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr);
        if Arc::ptr_eq(&entry, &event.entry) && same(&previous, &event.previous) {
            return Ok(event);
        }
        let Event { kind, time, .. } = *event;
        Ok(Arc::new(Event { kind, entry, previous, time, rendered: Default::default(), encoded: Default::default() }))
    }

    /// The stored form of an object that is in the version of `kind`.
    pub(crate) async fn encode(&self, kind: &Kind, object: &Value) -> Result<Stored, Status> {
        let Some(custom) = &kind.custom else { return codec::encode(object) };
        if custom.stored_version == kind.version {
            return codec::encode_whole(object);
        }
        let stored = coracle_api::kinds::api_version(&kind.group, &custom.stored_version);
        let object = self.convert(custom, vec![object.clone()], &stored).await?.pop().unwrap_or(Value::Null);
        codec::encode_whole(&object)
    }

    async fn convert(&self, custom: &Custom, mut objects: Vec<Value>, to: &str) -> Result<Vec<Value>, Status> {
        if custom.conversion["strategy"] == "Webhook" {
            return convert::by_webhook(&self.webhooks, &*self.lookup, &custom.conversion["webhook"], objects, to).await;
        }
        for object in &mut objects {
            object["apiVersion"] = json!(to);
        }
        Ok(objects)
    }

    /// All definitions, decoded.
    fn definitions(&self) -> Vec<Arc<Value>> {
        self.lookup.list(custom::GROUP, custom::PLURAL, "")
    }
}

/// Whether an entry reads as it is: written in this version, under this schema.
fn is_settled(kind: &Kind, custom: &Custom, entry: &Entry) -> bool {
    let opening = format!("\"apiVersion\":\"{}\",", kind.api_version());
    entry.revision > custom.since && entry.value.head().starts_with(opening.as_bytes())
}

/// Orders versions as discovery does: stable before beta before alpha, higher numbers first.
pub(crate) fn version_priority(version: &str) -> (u8, std::cmp::Reverse<u64>, std::cmp::Reverse<u64>, String) {
    use std::cmp::Reverse;
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let end = rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        match &rest[end..] {
            "" => Some((0, major, 0)),
            after => {
                let (stage, number) =
                    after.strip_prefix("beta").map(|number| (1, number)).or_else(|| Some((2, after.strip_prefix("alpha")?)))?;
                Some((stage, major, number.parse().ok()?))
            }
        }
    });
    match parsed {
        Some((stage, major, minor)) => (stage, Reverse(major), Reverse(minor), String::new()),
        None => (3, Reverse(0), Reverse(0), version.to_owned()),
    }
}
